package lifecycle

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// protobufMark begins every value that is stored as protobuf.
var protobufMark = []byte{'k', '8', 's', 0}

// facts are what matters here of an object.
type facts struct {
	uid types.UID
	// deleting says that the object has been asked to go.
	deleting bool
	// foreground and orphan say which finalizers of garbage collection it carries.
	foreground, orphan bool
	owners             []ownerRef
}

// ownerRef is an owner as a dependent names it.
type ownerRef struct {
	uid types.UID
	// blocks says that the owner may not go in the foreground before the dependent has.
	blocks bool
}

// decode reads the facts from a stored value, in either form.
func decode(value []byte) (facts, error) {
	var m metav1.ObjectMeta
	var err error
	if bytes.HasPrefix(value, protobufMark) {
		err = decodeProtobuf(value[len(protobufMark):], &m)
	} else {
		err = decodeJSON(value, &m)
	}
	if err != nil {
		return facts{}, err
	}
	if m.UID == "" {
		return facts{}, errors.New("lifecycle: stored object has no uid")
	}
	return factsOf(&m), nil
}

// ReadUID reads the UID of an object from its stored value, in either form.
func ReadUID(value []byte) (types.UID, error) {
	f, err := decode(value)
	return f.uid, err
}

func factsOf(m *metav1.ObjectMeta) facts {
	f := facts{
		uid:        m.UID,
		deleting:   m.DeletionTimestamp != nil,
		foreground: slices.Contains(m.Finalizers, metav1.FinalizerDeleteDependents),
		orphan:     slices.Contains(m.Finalizers, metav1.FinalizerOrphanDependents),
	}
	for _, o := range m.OwnerReferences {
		f.owners = append(f.owners, ownerRef{uid: o.UID, blocks: o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion})
	}
	return f
}

func decodeJSON(value []byte, m *metav1.ObjectMeta) error {
	var object struct {
		Metadata *metav1.ObjectMeta `json:"metadata"`
	}
	object.Metadata = m
	if err := json.Unmarshal(value, &object); err != nil {
		return fmt.Errorf("lifecycle: read stored JSON: %w", err)
	}
	return nil
}

// decodeProtobuf reads the metadata, which is field 1 of every kind, and skips the rest.
func decodeProtobuf(value []byte, m *metav1.ObjectMeta) error {
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(value); err != nil {
		return fmt.Errorf("lifecycle: read stored protobuf: %w", err)
	}
	const fieldOneBytes = 1<<3 | 2
	if len(unknown.Raw) == 0 || unknown.Raw[0] != fieldOneBytes {
		return errors.New("lifecycle: stored protobuf does not begin with its metadata")
	}
	length, n := binary.Uvarint(unknown.Raw[1:])
	if n <= 0 || length > uint64(len(unknown.Raw)-1-n) {
		return errors.New("lifecycle: stored protobuf ends inside its metadata")
	}
	begin := 1 + n
	if err := m.Unmarshal(unknown.Raw[begin : begin+int(length)]); err != nil {
		return fmt.Errorf("lifecycle: read stored protobuf: %w", err)
	}
	return nil
}

// place is where an object is in the API.
type place struct {
	group, resource, namespace, name string
}

// parseKey finds an object's place from its key. Core resources have no group in their keys; Catalog tells which those are,
// and which resources are inside namespaces.
func parseKey(key, prefix string, isCore func(resource string) bool) (place, bool) {
	rest, ok := strings.CutPrefix(key, prefix+"/")
	if !ok {
		return place{}, false
	}
	parts := strings.Split(rest, "/")
	if slices.Contains(parts, "") {
		return place{}, false
	}
	var p place
	if !isCore(parts[0]) {
		if len(parts) < 3 {
			return place{}, false
		}
		p.group, parts = parts[0], parts[1:]
	}
	switch len(parts) {
	case 2:
		p.resource, p.name = parts[0], parts[1]
	case 3:
		p.resource, p.namespace, p.name = parts[0], parts[1], parts[2]
	default:
		return place{}, false
	}
	return p, true
}
