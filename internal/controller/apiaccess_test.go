package controller

import (
	"testing"
)

func TestAutomounts(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		pod, account *bool
		want         bool
	}{{nil, nil, true}, {nil, &no, false}, {&yes, &no, true}, {&no, &yes, false}, {&no, nil, false}} {
		if got := automounts(test.pod, test.account); got != test.want {
			t.Errorf("pod %v, account %v: got %v", test.pod, test.account, got)
		}
	}
}
