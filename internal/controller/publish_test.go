package controller

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePublish(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"3000":                                "127.0.0.1:3000>3000",
		"127.0.0.1:15432=5432":                "127.0.0.1:15432>5432",
		"0.0.0.0:80=8080, [::1]:80=8080":      "0.0.0.0:80>8080 [::1]:80>8080",
		"localhost:80":                        `error "localhost" is not an address`,
		"127.0.0.1:0":                         `error "0" is not a port`,
		"127.0.0.1:80=":                       `error "" is not a port`,
		"127.0.0.1:80=70000":                  `error "70000" is not a port`,
		"::1:80":                              `error "::1:80" is no address and port`,
		"127.0.0.1:http":                      `error "http" is not a port`,
		"127.0.0.1:1=2=3":                     `error "2=3" is not a port`,
		"127.0.0.1:3000,,127.0.0.1:3001=3000": "127.0.0.1:3000>3000 127.0.0.1:3001>3000",
	} {
		var got []string
		all, err := parsePublish(text)
		for _, one := range all {
			got = append(got, fmt.Sprintf("%s>%d", one.address, one.target))
		}
		if err != nil {
			got = []string{"error " + strings.TrimPrefix(err.Error(), publishAnnotation+": ")}
		}
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("%q: %s, want %s", text, joined, want)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	f.Add("127.0.0.1:15432=5432,[::]:80")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parsePublish(text)
		if err != nil {
			return
		}
		for _, one := range all {
			again, err := parsePublish(fmt.Sprintf("%s=%d", one.address, one.target))
			if err != nil || len(again) != 1 || again[0] != one {
				t.Fatalf("%q gives %+v, and that %+v, %v", text, one, again, err)
			}
		}
	})
}
