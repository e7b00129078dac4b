package knative

import "testing"

// BenchmarkAdmit is what one create of a Service costs beside storing it.
func BenchmarkAdmit(b *testing.B) {
	a := newAdmitter(b)
	r := create(serviceKind, serviceWith(`{"containers":[{"image":"example.com/hello","env":[{"name":"A","value":"b"}]}]}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := admit(b, a, r); err != nil {
			b.Fatal(err)
		}
	}
}
