package helper

import "testing"

func FuzzStat(f *testing.F) {
	f.Add("12 (a) b) R 1 12 12 0")
	f.Add("12 ((sd-pam)) S 11 x")
	f.Add("(")
	f.Add(") 1 (")
	f.Add("0()\x00 0")
	f.Fuzz(func(t *testing.T, line string) {
		if p, ok := parseStat(line); ok && p.state == 0 {
			t.Errorf("%q gives %+v", line, p)
		}
	})
}

func TestStat(t *testing.T) {
	if p, ok := parseStat("12 (a) b) R 7 12 12 0"); !ok || p != (proc{12, 7, 'R'}) {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, bad := range []string{"", "x", "12 (a", "x (a) R 1", "12 (a) R x", "12 (a) RR 1", "12 (a) R"} {
		if p, ok := parseStat(bad); ok {
			t.Errorf("%q gives %+v", bad, p)
		}
	}
}
