package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCommand(term *terminal) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man [COMMAND...]",
		Short: "Print the manual page of a command, or write all of them",
		Long: "Man prints the manual page of a command as roff, or writes the pages of all commands into a folder, where\n" +
			"man(1) finds them if it is a man1 of its path.",
		Example: "  fairlead man run | man -l -\n  fairlead man --dir ~/.local/share/man/man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			header := &doc.GenManHeader{Title: "FAIRLEAD", Section: "1", Source: "fairlead " + buildVersion().Version, Manual: "Fairlead"}
			if dir != "" {
				if len(args) > 0 {
					return withTry(usagef("--dir writes all pages"), "fairlead man --dir %s", dir)
				}
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fmt.Errorf("write manual pages: %w", err)
				}
				if err := doc.GenManTree(root, header, dir); err != nil {
					return fmt.Errorf("write manual pages: %w", err)
				}
				return nil
			}
			page, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return withTry(usagef("there is no command %s", strings.Join(args, " ")), "fairlead help")
			}
			if page != root {
				header.Title = "" // the library makes it from the name
			}
			return doc.GenMan(page, header, term.out)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write the pages of all commands into")
	return cmd
}
