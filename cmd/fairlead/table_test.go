package main

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTable(t *testing.T) {
	tab := table{header: []string{"NAME", "READY", "AGE"}}
	tab.add("grüße", cell{"True", shadeGood}, 5)
	tab.add("a", "", "12m")
	var plain, coloured strings.Builder
	if err := tab.write(&plain, false); err != nil {
		t.Fatal(err)
	}
	want := "NAME    READY   AGE\ngrüße   True    5\na       -       12m\n"
	if plain.String() != want {
		t.Errorf("got\n%swant\n%s", plain.String(), want)
	}
	if err := tab.write(&coloured, true); err != nil {
		t.Fatal(err)
	}
	if want := "grüße   \x1b[32mTrue\x1b[0m    5\n"; !strings.Contains(coloured.String(), want) {
		t.Errorf("got %q, want it to contain %q", coloured.String(), want)
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 200 * time.Minute: "3h20m", 30 * time.Hour: "30h", 10 * 24 * time.Hour: "10d",
	} {
		if got := age(metav1.NewTime(now.Add(-d)), now); got != want {
			t.Errorf("age of %v is %q, want %q", d, got, want)
		}
	}
	if got := age(metav1.Time{}, now); got != "<unknown>" {
		t.Errorf("age of no time is %q", got)
	}
}

func TestEventFilter(t *testing.T) {
	for object, want := range map[string]bool{
		"hello": true, "hello-00001": true, "hello-00002-deployment-abc": true, "hello-world": false, "hello-world-00001": false, "other": false,
	} {
		event := &corev1.Event{InvolvedObject: corev1.ObjectReference{Name: object}}
		if got := (eventFilter{service: "hello"}).match(event); got != want {
			t.Errorf("an event of %s belongs to hello: %v, want %v", object, got, want)
		}
	}
}
