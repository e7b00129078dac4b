package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Groups of commands, in the order `fairlead help` shows them.
const (
	groupRun     = "run"
	groupService = "service"
	groupObject  = "object"
	groupHost    = "host"
)

// nearest is the command that is most like a word which is none, or help.
func nearest(cmd *cobra.Command, word string) string {
	for mistakes := 1; mistakes <= 2 && word != ""; mistakes++ {
		cmd.SuggestionsMinimumDistance = mistakes
		if near := cmd.SuggestionsFor(word); len(near) > 0 {
			return near[0]
		}
	}
	return "help"
}

func newRootCommand(term *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "Just run my code: Knative services on one machine",
		Long: "Fairlead runs your code the cloud native way on one machine. It serves the Knative Serving and Eventing\n" +
			"APIs without Kubernetes; kubectl and kn work with it as they are.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := usagef("unknown command %q", args[0])
			return withTry(err, "fairlead %s", nearest(cmd, args[0]))
		},
	}
	root.PersistentPreRunE = refuseEmpty
	root.SetIn(term.in)
	root.SetOut(term.out)
	root.SetErr(term.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withTry(usageError{err}, "%s --help", cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run code:"},
		&cobra.Group{ID: groupService, Title: "Services:"},
		&cobra.Group{ID: groupObject, Title: "Objects of the API:"},
		&cobra.Group{ID: groupHost, Title: "This machine:"},
	)
	root.SetHelpCommandGroupID(groupHost)
	root.SetCompletionCommandGroupID(groupHost)
	addCommands(root, term)
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = cobra.ArbitraryArgs, helpOrUnknown
		for _, shell := range completion.Commands() {
			shell.Args = exactArgs(0)
		}
	}
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Run, help.RunE = nil, helpAbout
	}
	return root
}

// refuseEmpty refuses an empty argument, which a script with an unset variable gives: most commands would take it for no argument
// at all, and mean everything.
func refuseEmpty(cmd *cobra.Command, args []string) error {
	switch cmd.Name() {
	case cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return nil // what is completed is empty at first
	case "exec":
		args = args[:min(1, len(args))] // the rest is for the program
	}
	if slices.Contains(args, "") {
		return withTry(usagef("an argument of %s is empty", cmd.CommandPath()), "its value: a variable of the shell may not be set")
	}
	return nil
}

// helpOrUnknown is what a command does that is only a name for others.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return withTry(usagef("unknown command %q", cmd.CommandPath()+" "+args[0]), "%s --help", cmd.CommandPath())
}

// helpAbout is `fairlead help COMMAND...`.
func helpAbout(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return withTry(usagef("there is no command %s", strings.Join(args, " ")), "fairlead help")
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// addCommands lists every command once.
func addCommands(root *cobra.Command, term *terminal) {
	for group, commands := range map[string][]*cobra.Command{
		groupRun: {newRunCommand(term), newDeployCommand(term), newBuildCommand(term), newDevCommand(term), newUpCommand(term), newDownCommand(term)},
		groupService: {
			newListCommand(term),
			newRevisionsCommand(term),
			newLogsCommand(term),
			newTrafficCommand(term),
			newRollbackCommand(term),
			newScaleCommand(term),
			newOpenCommand(term),
			newExecCommand(term),
			newCpCommand(term),
			newPortForwardCommand(term),
			newTopCommand(term),
			newEventsCommand(term),
			newServiceCommand(term),
		},
		groupObject: {
			newKubeconfigCommand(term),
			newGetCommand(term),
			newDescribeCommand(term),
			newApplyCommand(term),
			newDeleteCommand(term),
			newWaitCommand(term),
			newExplainCommand(term),
			newAPIResourcesCommand(term),
		},
		groupHost: {
			newServeCommand(term),
			newImageCommand(term),
			newConfigCommand(term),
			newDoctorCommand(term),
			newTrustCommand(term),
			newBackupCommand(term),
			newRestoreCommand(term),
			newManCommand(term),
			newVersionCommand(term),
		},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
}

// exactArgs is cobra.ExactArgs with the exit code and advice of a usage error.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return withTry(usagef("%s takes %s, got %d", cmd.CommandPath(), plural(n, "argument"), len(args)), "%s --help", cmd.CommandPath())
	}
}

// atMostArgs is cobra.MaximumNArgs likewise.
func atMostArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return withTry(usagef("%s takes at most %s, got %d", cmd.CommandPath(), plural(n, "argument"), len(args)), "%s --help", cmd.CommandPath())
	}
}

// atLeastArgs is cobra.MinimumNArgs likewise.
func atLeastArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return withTry(usagef("%s takes at least %s, got %d", cmd.CommandPath(), plural(n, "argument"), len(args)), "%s --help", cmd.CommandPath())
	}
}

// rangeArgs is cobra.RangeArgs likewise.
func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if least <= len(args) && len(args) <= most {
			return nil
		}
		return withTry(usagef("%s takes %d to %s, got %d", cmd.CommandPath(), least, plural(most, "argument"), len(args)), "%s --help", cmd.CommandPath())
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
