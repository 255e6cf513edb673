package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// A setting is a flag. What the command line does not give comes from the
// environment (FLIGHTLOG_CA_FILE for --ca-file), then from one YAML file whose
// keys are the names of flags (ca-file: ...), then from the flag's default.
// Secrets are never settings: settings name the files that hold them.

// configFlag is the setting that names the file.
const configFlag = "config"

// settle fills in the flags of a command that the command line does not give.
// Every problem is reported, not the first only.
func settle(c *cobra.Command) error {
	var errs []error
	set := func(f *pflag.Flag, value, from string) {
		if err := c.Flags().Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", from, err))
		}
	}
	if f := c.Flags().Lookup(configFlag); f != nil && !f.Changed {
		if path := os.Getenv(variable(f.Name)); path != "" {
			set(f, path, variable(f.Name))
		}
	}
	path, err := c.Flags().GetString(configFlag)
	if err != nil {
		return err
	}
	file, err := readSettings(path, c.Root())
	if err != nil {
		errs = append(errs, err)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		value, inEnvironment := os.LookupEnv(variable(f.Name))
		values, inFile := file[f.Name]
		switch {
		case f.Changed || f.Name == configFlag || f.Name == "help":
		case inEnvironment:
			set(f, value, variable(f.Name))
		case inFile:
			for _, v := range values {
				set(f, v, path+": "+f.Name)
			}
		}
	})
	return errors.Join(errs...)
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "FLIGHTLOG_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readSettings reads the file: for each flag its value, or the values of one
// that may be given several times.
func readSettings(path string, root *cobra.Command) (map[string][]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings: %w", err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("cannot read the settings in %s: %w", path, err)
	}
	known := flagNames(root)
	settings := map[string][]string{}
	var errs []error
	for key, value := range file {
		if !slices.Contains(known, key) {
			errs = append(errs, fmt.Errorf("%s: %s: no such setting", path, key))
			continue
		}
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, v := range list {
			switch v.(type) {
			case string, bool, int, float64:
				settings[key] = append(settings[key], fmt.Sprint(v))
			default:
				errs = append(errs, fmt.Errorf("%s: %s: must be a text, a number, true, false or a list of them", path, key))
			}
		}
	}
	return settings, errors.Join(errs...)
}

// flagNames are the flags of a command and of all below it: the file may serve
// several commands.
func flagNames(c *cobra.Command) (names []string) {
	add := func(f *pflag.Flag) {
		if f.Name != configFlag && f.Name != "help" {
			names = append(names, f.Name)
		}
	}
	c.PersistentFlags().VisitAll(add)
	c.Flags().VisitAll(add)
	for _, sub := range c.Commands() {
		names = append(names, flagNames(sub)...)
	}
	return names
}
