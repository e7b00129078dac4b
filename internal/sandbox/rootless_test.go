package sandbox

import "testing"

// FuzzSubRange reads lines of /etc/subuid.
func FuzzSubRange(f *testing.F) {
	for _, line := range []string{"ann:100000:65536", "1000:5:6", "ann:x:1", "ann:1", "", "bob:1:2", "ann:-5:7"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		first, count, ok := subRange(line, []string{"1000", "ann"})
		if ok && (first <= 0 || count <= 0) {
			t.Errorf("%q gives %d, %d", line, first, count)
		}
	})
	if first, count, ok := subRange("ann:100000:65536\n", []string{"1000", "ann"}); !ok || first != 100000 || count != 65536 {
		f.Errorf("%d, %d, %v", first, count, ok)
	}
	if _, _, ok := subRange("bob:100000:65536", []string{"1000", "ann"}); ok {
		f.Error("the range of another user was taken")
	}
}
