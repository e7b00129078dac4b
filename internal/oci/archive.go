package oci

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// archiveReader reads the tar inside a layer blob. Unpacking and hashing run in a goroutine of their own, a few blocks
// ahead of the reader.
type archiveReader struct {
	blocks chan block
	free   chan []byte
	stop   context.CancelFunc
	rest   []byte
	last   []byte
	err    error
	sum    hash.Hash
	id     digest.Digest
}

type block struct {
	data []byte
	err  error
}

const (
	archiveBlockBytes  = 256 << 10
	archiveBlocksAhead = 4
)

// openArchive starts reading. The caller must Close it. More than limitBytes are refused.
func openArchive(ctx context.Context, r io.Reader, id digest.Digest, limitBytes int64) (*archiveReader, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("diff ID %q: %w", id, err)
	}
	plain, closeFunc, err := decompress(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &archiveReader{
		blocks: make(chan block, archiveBlocksAhead), free: make(chan []byte, archiveBlocksAhead+2),
		stop: cancel, sum: id.Algorithm().Hash(), id: id,
	}
	for range archiveBlocksAhead + 2 {
		a.free <- make([]byte, archiveBlockBytes)
	}
	go a.readAhead(ctx, plain, closeFunc, limitBytes)
	return a, nil
}

func (a *archiveReader) readAhead(ctx context.Context, plain io.Reader, closeFunc func(), limitBytes int64) {
	defer closeFunc()
	defer close(a.blocks)
	var total int64
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-ctx.Done():
			return
		}
		n, err := fill(plain, buf[:archiveBlockBytes])
		a.sum.Write(buf[:n])
		if total += int64(n); total > limitBytes {
			err = &RefusedError{Reason: fmt.Sprintf("it unpacks to more than %d bytes, which its size does not explain", limitBytes)}
		}
		select {
		case a.blocks <- block{buf[:n], err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *archiveReader) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.last != nil {
			a.free <- a.last
			a.last = nil
		}
		b, ok := <-a.blocks
		if !ok {
			a.err = io.ErrUnexpectedEOF
			return 0, a.err
		}
		a.rest, a.last, a.err = b.data, b.data, b.err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// finish reads what follows the archive's end, and holds everything against the diff ID.
func (a *archiveReader) finish() error {
	if _, err := io.Copy(io.Discard, onlyReader{a}); err != nil {
		return fmt.Errorf("read layer archive: %w", err)
	}
	for range a.blocks { // the hash is complete when this is closed
	}
	if got := digest.NewDigest(a.id.Algorithm(), a.sum); got != a.id {
		return fmt.Errorf("layer unpacks to %s, but the image says %s", got, a.id)
	}
	return nil
}

type onlyReader struct{ io.Reader }

// Close stops the reading.
func (a *archiveReader) Close() {
	a.stop()
	for range a.blocks { // wait for the goroutine
	}
}

// decompress finds out by the first bytes how a layer is packed.
func decompress(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, archiveBlockBytes)
	magic, _ := buffered.Peek(4) // a short blob is no archive: the tar reader says so
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, fmt.Errorf("read layer archive: %w", err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(32<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, fmt.Errorf("read layer archive: %w", err)
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}
