package daemon

// wire opens the components and says in which order they start.
func (d *Daemon) wire() error {
	return nil
}
