package logs

import (
	"bytes"
	"time"
)

// Splitter cuts the bytes of one stream of one container into records.
type Splitter struct {
	Container string
	Stream    Stream
	rest      []byte // the beginning of a line
}

// Split gives the records completed by more. Their data is valid until the next call.
func (s *Splitter) Split(more []byte, now time.Time) []Record {
	var out []Record
	for len(more) > 0 {
		i := bytes.IndexByte(more, '\n')
		if i < 0 {
			if len(s.rest)+len(more) < MaxLine {
				s.rest = append(s.rest, more...)
				return out
			}
			n := MaxLine - len(s.rest)
			out = append(out, s.record(more[:n], now, true))
			more = more[n:]
			continue
		}
		if len(s.rest)+i > MaxLine {
			n := MaxLine - len(s.rest)
			out = append(out, s.record(more[:n], now, true))
			more = more[n:]
			continue
		}
		out = append(out, s.record(more[:i], now, false))
		more = more[i+1:]
	}
	return out
}

// End gives what was begun but never ended with a newline.
func (s *Splitter) End(now time.Time) []Record {
	if len(s.rest) == 0 {
		return nil
	}
	return []Record{s.record(nil, now, false)}
}

func (s *Splitter) record(tail []byte, now time.Time, partial bool) Record {
	data := tail
	if len(s.rest) > 0 {
		data = append(s.rest, tail...)
		s.rest = nil
	}
	return Record{Time: now, Stream: s.Stream, Container: s.Container, Partial: partial, Data: data}
}
