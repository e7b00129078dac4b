package gateway

import "encoding/binary"

// frames follows the frames of a WebSocket in one direction (RFC 6455, section 5.2), to know where one ends.
type frames struct {
	header []byte // of the frame that begins
	left   uint64 // bytes of its payload still to come
	closed bool   // the frame is, or was, the last one: opcode 8
}

const (
	opcodeClose = 0x8
	frameFinal  = 0x80
	frameMasked = 0x80
	goingAway   = 1001 // RFC 6455, section 7.4.1
)

// between says that the last frame is whole.
func (f *frames) between() bool { return f.left == 0 && len(f.header) == 0 }

// feed takes what comes next and gives how much of it ends with a whole frame, 0 if no frame ends in it.
func (f *frames) feed(b []byte) (whole int) {
	for n := 0; n < len(b); {
		if f.left > 0 {
			step := min(f.left, uint64(len(b)-n))
			f.left -= step
			n += int(step) //nolint:gosec // no more than len(b)
		} else {
			f.header = append(f.header, b[n])
			n++
			f.begin()
		}
		if f.between() {
			whole = n
		}
	}
	return whole
}

// begin reads the header when it is whole.
func (f *frames) begin() {
	h := f.header
	if len(h) < 2 {
		return
	}
	size, length := 2, uint64(h[1]&^frameMasked)
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if len(h) >= size {
		switch length {
		case 126:
			length = uint64(binary.BigEndian.Uint16(h[2:]))
		case 127:
			length = binary.BigEndian.Uint64(h[2:])
		}
	}
	if h[1]&frameMasked != 0 {
		size += 4
	}
	if len(h) < size {
		return
	}
	f.closed = f.closed || h[0]&0xf == opcodeClose
	f.left, f.header = length, h[:0]
}

// farewell is the frame that closes a WebSocket because its peer goes away. What comes from a client is masked, here with zeros.
func farewell(masked bool) []byte {
	frame := []byte{frameFinal | opcodeClose, 2}
	if masked {
		frame[1] |= frameMasked
		frame = append(frame, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint16(frame, goingAway)
}
