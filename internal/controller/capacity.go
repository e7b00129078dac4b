package controller

import (
	"fmt"
	"strings"
	"sync"
)

// capacity counts what the instances have reserved of the machine.
type capacity struct {
	total demand

	mu      sync.Mutex // guards the fields below; taken last, nothing is called under it
	used    demand
	waiting map[chan<- struct{}]bool // told, without blocking, when something is given back
}

func newCapacity(total demand) *capacity {
	return &capacity{total: total, waiting: map[chan<- struct{}]bool{}}
}

// reserve takes d, or says what is missing in the scheduler's words and remembers to tell the waiter.
func (c *capacity) reserve(d demand, waiter chan<- struct{}) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	if d.cpuMillis > 0 && c.used.cpuMillis+d.cpuMillis > c.total.cpuMillis {
		missing = append(missing, "1 Insufficient cpu")
	}
	if d.memoryBytes > 0 && c.used.memoryBytes+d.memoryBytes > c.total.memoryBytes {
		missing = append(missing, "1 Insufficient memory")
	}
	if len(missing) > 0 {
		c.waiting[waiter] = true
		return fmt.Sprintf("0/1 nodes are available: %s.", strings.Join(missing, ", ")), false
	}
	c.used.cpuMillis += d.cpuMillis
	c.used.memoryBytes += d.memoryBytes
	return "", true
}

// take reserves without asking: for instances that run already.
func (c *capacity) take(d demand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used.cpuMillis += d.cpuMillis
	c.used.memoryBytes += d.memoryBytes
}

func (c *capacity) release(d demand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used.cpuMillis -= d.cpuMillis
	c.used.memoryBytes -= d.memoryBytes
	for waiter := range c.waiting {
		select {
		case waiter <- struct{}{}:
		default:
		}
		delete(c.waiting, waiter)
	}
}

func (c *capacity) forget(waiter chan<- struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, waiter)
}
