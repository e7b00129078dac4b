package sandbox

import "testing"

// HideSystemPrograms lets programs be found on the PATH only, until the test ends.
func HideSystemPrograms(t *testing.T) {
	dirs := systemDirs
	systemDirs = nil
	t.Cleanup(func() { systemDirs = dirs })
}
