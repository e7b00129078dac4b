package gateway

// TLS records, by their first byte (RFC 8446, 5.1).
const (
	recordChange    = 0x14
	recordHandshake = 0x16
	recordData      = 0x17
)

// recordHead is the size of what each record begins with: a byte for the type, two for the version, two for the length.
const recordHead = 5

// records follows what a client sends over TLS far enough to know whether the handshake is all of it. In doubt it takes something for a
// request: such a connection is waited for.
type records struct {
	head   [recordHead]byte
	have   int  // bytes of the head that are there
	rest   int  // bytes of the present record that are to come
	change bool // the client has said that it encrypts from here on
	old    bool // before TLS 1.3 the end of the handshake is a record of its type, and not of data
	end    bool // the record of data that ends the handshake was there
	asked  bool // there was another one
}

// asks takes the bytes that came next and says whether part of a request was among all of them.
func (r *records) asks(p []byte) bool {
	for len(p) > 0 && !r.asked {
		if r.rest > 0 {
			n := min(r.rest, len(p))
			r.rest, p = r.rest-n, p[n:]
			continue
		}
		if r.have == 0 {
			r.begin(p[0])
		}
		n := copy(r.head[r.have:], p)
		r.have, p = r.have+n, p[n:]
		if r.have == recordHead {
			r.have, r.rest = 0, int(r.head[3])<<8|int(r.head[4])
		}
	}
	return r.asked
}

// begin is told of the type of the next record.
func (r *records) begin(kind byte) {
	switch kind {
	case recordChange:
		r.change = true
	case recordHandshake:
		r.old = r.old || r.change
	case recordData:
		r.asked, r.end = r.old || r.end, true
	default: // an alert, or nothing that TLS knows
		r.asked = true
	}
}
