package gateway

// grant ends a wait: with a slot on an instance, or with an error.
type grant struct {
	instance *instance
	err      error
}

// waiter is one request in a room.
type waiter struct {
	granted    chan grant // room for one
	prev, next *waiter
	inside     bool
}

// room is the queue of requests of a backend that wait for a slot: first in, first out. Its owner has the lock.
type room struct {
	head, tail *waiter
	len        int
}

func (r *room) push(w *waiter) {
	w.inside, w.prev, w.next = true, r.tail, nil
	if r.tail != nil {
		r.tail.next = w
	} else {
		r.head = w
	}
	r.tail = w
	r.len++
}

// pop takes the one who came first; the room must not be empty.
func (r *room) pop() *waiter {
	w := r.head
	r.remove(w)
	return w
}

// remove takes w out and says whether it was inside.
func (r *room) remove(w *waiter) bool {
	if !w.inside {
		return false
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		r.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		r.tail = w.prev
	}
	w.inside, w.prev, w.next = false, nil, nil
	r.len--
	return true
}
