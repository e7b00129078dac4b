package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	stream := strings.Join([]string{
		`{"Action":"run","Test":"TestOne"}`,
		`{"Action":"output","Test":"TestOne","Output":"    one_test.go:12: answered 503\n"}`,
		`{"Action":"run","Test":"TestOne/sub"}`,
		`{"Action":"fail","Test":"TestOne","Elapsed":1.5}`,
		`not an event`,
		`{"Action":"pass","Test":"TestOne/sub","Elapsed":0.5}`,
		`{"Action":"skip","Test":"TestTwo"}`,
		`{"Action":"run","Test":"TestThree"}`,
		`{"Action":"fail"}`,
	}, "\n")
	noted := 0
	results, err := readEvents("suite", strings.NewReader(stream), func(*result) { noted++ })
	if err != nil {
		t.Fatal(err)
	}
	if noted != 3 || len(results) != 4 {
		t.Fatalf("%d results, %d noted; want 4 and 3", len(results), noted)
	}
	if got := results[0].reason(); got != "answered 503" {
		t.Errorf("reason = %q", got)
	}
	var out strings.Builder
	if printReport(&out, results) {
		t.Error("a failed and an unfinished test count as success")
	}
	if want := "tests: 0 pass, 1 fail, 1 skip, 1 unfinished; result lines: 1 pass, 1 fail, 1 skip, 1 unfinished"; !strings.Contains(out.String(), want) {
		t.Errorf("report lacks %q:\n%s", want, &out)
	}
	if !printReport(&out, results[1:3]) {
		t.Error("a passed and a skipped test count as failure")
	}
}

func TestChoose(t *testing.T) {
	required, err := choose("conformance")
	if err != nil || len(required) != 3 {
		t.Errorf("conformance = %v, %v; want three suites", required, err)
	}
	if one, err := choose("e2e/gc,runtime"); err != nil || len(one) != 2 {
		t.Errorf("choose = %v, %v", one, err)
	}
	if _, err := choose("nosuch"); err == nil || !strings.Contains(err.Error(), "api/v1beta1") {
		t.Errorf("choose = %v; want an error that lists the suites", err)
	}
}
