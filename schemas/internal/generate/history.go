package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// unreleased marks a version that no release holds yet: a change of the schema
// replaces it. A released version stays for ever.
const unreleased = "unreleased"

// version is a line of history/VERSIONS: one schema that a record has or had.
type version struct {
	record      string
	fingerprint string // 16 hex digits
	release     string // first release that held it, or unreleased
}

func (v version) file(suffix string) string {
	return filepath.Join("history", v.record, v.fingerprint+suffix)
}

// history brings the versions up to date with the present schemas and returns
// the files that tell of them, the versions, and the files of versions that the
// present ones replace.
func history(dir string, roots []*avsc.Schema, release string) (files map[string][]byte, all []version, drop []string, err error) {
	if all, err = readVersions(dir); err != nil {
		return nil, nil, nil, err
	}
	files = map[string][]byte{}
	for _, s := range roots {
		if !isRoot(s) {
			continue
		}
		now := version{s.ShortName(), fmt.Sprintf("%016x", s.Fingerprint()), unreleased}
		all = slices.DeleteFunc(all, func(v version) bool {
			replaced := v.record == now.record && v.fingerprint != now.fingerprint && v.release == unreleased
			if replaced {
				drop = append(drop, v.file(".avsc"), v.file(".golden"))
			}
			return replaced
		})
		if !slices.ContainsFunc(all, func(v version) bool {
			return v.record == now.record && v.fingerprint == now.fingerprint
		}) {
			all = append(all, now)
		}
		files[now.file(".avsc")] = s.Resolved()
		files[now.file(".golden")] = golden(s)
	}
	var list strings.Builder
	for i, v := range all {
		if v.release == unreleased && release != "" {
			all[i].release = release
		}
		fmt.Fprintln(&list, v.record, v.fingerprint, all[i].release)
		if err := released(dir, v, roots, files); err != nil {
			return nil, nil, nil, fmt.Errorf("history of %s, version %s (%s): %w", v.record, v.fingerprint, v.release, err)
		}
	}
	files["history/VERSIONS"] = []byte(list.String())
	return files, all, drop, listed(dir, all, drop)
}

func readVersions(dir string) (all []version, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "history", "VERSIONS"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("history/VERSIONS: %q is no 'record fingerprint release'", line)
		}
		all = append(all, version{f[0], f[1], f[2]})
	}
	return all, err
}

// released checks that a released version is kept as it was, and that readers
// and writers of it get along with the present schema.
func released(dir string, v version, roots []*avsc.Schema, files map[string][]byte) error {
	if v.release == unreleased {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, v.file(".avsc")))
	if err != nil {
		return err
	}
	old, err := avsc.Names{}.Parse(text)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%016x", old.Fingerprint()); got != v.fingerprint || old.ShortName() != v.record {
		return fmt.Errorf("a released schema was changed: the file now holds %s %s", old.ShortName(), got)
	}
	lines, err := os.ReadFile(filepath.Join(dir, v.file(".golden")))
	if err != nil {
		return err
	}
	files[v.file(".golden")] = lines
	i := slices.IndexFunc(roots, func(s *avsc.Schema) bool { return s.ShortName() == v.record })
	if i < 0 {
		return fmt.Errorf("the record has no present schema")
	}
	if err := capsHold(old, roots[i]); err != nil {
		return err
	}
	return compatible(text, roots[i].Resolved())
}

// compatible tells by both of hamba/avro and twmb/avro that each of two
// schemas reads what the other has written.
func compatible(old, present []byte) error {
	h := make([]hamba.Schema, 2)
	t := make([]*twmb.Schema, 2)
	for i, text := range [][]byte{old, present} {
		var err error
		if h[i], err = hamba.ParseWithCache(string(text), "", &hamba.SchemaCache{}); err != nil {
			return err
		}
		if t[i], err = twmb.Parse(string(text)); err != nil {
			return err
		}
	}
	check := hamba.NewSchemaCompatibility()
	if err := errors.Join(check.Compatible(h[1], h[0]), twmb.CheckCompatibility(t[0], t[1])); err != nil {
		return fmt.Errorf("the present schema cannot read it: %w", err)
	}
	if err := errors.Join(check.Compatible(h[0], h[1]), twmb.CheckCompatibility(t[1], t[0])); err != nil {
		return fmt.Errorf("its readers cannot read the present schema: %w", err)
	}
	return nil
}

// capsHold refuses a cap that shrank: a record that was right once would no
// longer decode.
func capsHold(old, present *avsc.Schema) error {
	for _, a := range named([]*avsc.Schema{old}) {
		for _, b := range named([]*avsc.Schema{present}) {
			if a.Name != b.Name {
				continue
			}
			if shrank(a.MaxBytes, b.MaxBytes) {
				return fmt.Errorf("maxBytes of %s shrank to %d", a.Name, b.MaxBytes)
			}
			for _, f := range a.Fields {
				for _, g := range b.Fields {
					if f.Name == g.Name && (shrank(f.MaxBytes, g.MaxBytes) || shrank(f.MaxItems, g.MaxItems)) {
						return fmt.Errorf("the cap of %s.%s shrank", a.Name, f.Name)
					}
				}
			}
		}
	}
	return nil
}

// shrank tells a cap that is lower than it was; 0 is none.
func shrank(was, is int) bool { return is != 0 && (was == 0 || is < was) }

// listed refuses a file of history that belongs to no version.
func listed(dir string, all []version, drop []string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "history", "*", "*"))
	for _, path := range paths {
		name, _ := filepath.Rel(dir, path)
		if !slices.Contains(drop, name) && !slices.ContainsFunc(all, func(v version) bool {
			return name == v.file(".avsc") || name == v.file(".golden")
		}) {
			return fmt.Errorf("%s: no version of history/VERSIONS", name)
		}
	}
	return err
}

// golden is one message in hex for each branch of the record's union, with
// every field set.
func golden(s *avsc.Schema) []byte {
	branches := 1
	for _, f := range s.Fields {
		if f.Type.Kind == avsc.Union && optional(f.Type) == nil {
			branches = len(f.Type.Branches)
		}
	}
	var out []byte
	for branch := range branches {
		b := sample{branch: branch}
		b.header(s.Fingerprint())
		b.value(avsc.Field{}, s)
		out = append(hex.AppendEncode(out, b.bytes), '\n')
	}
	return out
}
