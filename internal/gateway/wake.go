package gateway

import "time"

// WakeTrace tells where the time of one wake went. Times that do not apply are zero.
type WakeTrace struct {
	// Backend and Instance that was woken. The gateway sets Backend.
	Backend, Instance string
	// Spare says that an instance was waiting to be started; otherwise it was created from nothing.
	Spare bool
	// Asked is when the first request joined the room (set by the gateway).
	Asked time.Time
	// Woken is when the scaler took the wake up.
	Woken time.Time
	// Created is when the instance existed; zero for a spare.
	Created time.Time
	// Started is when its program was started.
	Started time.Time
	// Ready is when its readiness probe passed.
	Ready time.Time
	// Released is when the room was let go (set by the gateway).
	Released time.Time
	// FirstByte is when the first answer began (set by the gateway).
	FirstByte time.Time
}
