// Package logs keeps what the containers of one instance write to standard output and standard error.
//
// A log is a directory of segment files, 00000001.log and up. When the newest is full the next one is begun, and the oldest are
// removed so that the log stays below its limit. One Writer appends; any number of Readers read, also while it is written, and
// follow without polling. Readers never hold up the Writer: one that is too slow finds that the oldest records are gone.
//
// A record is one line with the time it was complete, its stream and its container. Lines may hold any bytes. One longer than
// MaxLine comes as several records, all but the last marked Partial.
//
// Record format, big endian: 0xF1, flags (bit 0: standard error, bit 1: partial), length of name, length of data (4), time in
// nanoseconds since 1970 (8), CRC-32C of all of that and what follows (4), name, data. A reader that meets a
// damaged record looks for the next good one.
package logs

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// MaxLine is the longest line kept in one record, in bytes.
const MaxLine = 1 << 20

const (
	magic      = 0xF1
	headerSize = 1 + 1 + 1 + 4 + 8 + 4
	maxName    = 255

	flagStderr  = 1 << 0
	flagPartial = 1 << 1
)

// Stream is where a line was written to.
type Stream uint8

const (
	Stdout Stream = iota
	Stderr
)

func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Record is one line of a container.
type Record struct {
	Time      time.Time
	Stream    Stream
	Container string
	Partial   bool   // the line goes on in the next record of this container and stream
	Data      []byte // without the newline
}

var (
	errShort = errors.New("record is incomplete")
	errBad   = errors.New("record is damaged")
	table    = crc32.MakeTable(crc32.Castagnoli)
)

// appendRecord adds the encoded record to b. Names longer than 255 bytes and data longer than MaxLine are cut.
func appendRecord(b []byte, r Record) []byte {
	name := r.Container[:min(len(r.Container), maxName)]
	data := r.Data[:min(len(r.Data), MaxLine)]
	var flags byte
	if r.Stream == Stderr {
		flags |= flagStderr
	}
	if r.Partial {
		flags |= flagPartial
	}
	start := len(b)
	b = append(b, magic, flags, byte(len(name)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	sum := crc32.Update(0, table, b[start:])
	sum = crc32.Update(sum, table, []byte(name))
	sum = crc32.Update(sum, table, data)
	b = binary.BigEndian.AppendUint32(b, sum)
	b = append(b, name...)
	return append(b, data...)
}

// parseRecord decodes the record at the start of b and gives its size. The data points into b. It returns errShort if b ends
// before the record does and errBad if there is none.
func parseRecord(b []byte) (Record, int, error) {
	if len(b) == 0 {
		return Record{}, 0, errShort
	}
	if b[0] != magic {
		return Record{}, 0, errBad
	}
	if len(b) < headerSize {
		return Record{}, 0, errShort
	}
	nameLen, dataLen := int(b[2]), int(binary.BigEndian.Uint32(b[3:]))
	if b[1]&^(flagStderr|flagPartial) != 0 || dataLen > MaxLine {
		return Record{}, 0, errBad
	}
	size := headerSize + nameLen + dataLen
	if len(b) < size {
		return Record{}, 0, errShort
	}
	sum := crc32.Update(0, table, b[:headerSize-4])
	sum = crc32.Update(sum, table, b[headerSize:size])
	if sum != binary.BigEndian.Uint32(b[headerSize-4:]) {
		return Record{}, 0, errBad
	}
	r := Record{
		Time:      time.Unix(0, int64(binary.BigEndian.Uint64(b[7:]))),
		Container: string(b[headerSize : headerSize+nameLen]),
		Data:      b[headerSize+nameLen : size],
		Partial:   b[1]&flagPartial != 0,
	}
	if b[1]&flagStderr != 0 {
		r.Stream = Stderr
	}
	return r, size, nil
}
