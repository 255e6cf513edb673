package openobserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// passcode brings the ingestion passcode of the admin account into a file: it is
// good for sending rows and for nothing else (contract §0.3).
func (p *provisioner) passcode(ctx context.Context) ([]Change, error) {
	path := p.layout.PasscodeFile
	if path == "" {
		return nil, nil
	}
	var said struct {
		Data struct {
			Passcode string `json:"passcode"`
			User     string `json:"user"`
		} `json:"data"`
	}
	if _, err := p.call(ctx, http.MethodGet, p.client.org("/passcode"), nil, nil, &said); err != nil {
		return nil, err
	}
	if said.Data.Passcode == "" {
		return nil, fmt.Errorf("the account %s has no ingestion passcode", p.client.config.Admin.User)
	}
	change := Change{Action: Update, Object: "passcode file", Name: path, Says: "the ingestion passcode of " + said.Data.User,
		make: func(context.Context) ([]Change, error) { return nil, replaceSecret(path, said.Data.Passcode) }}
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		change.Action = Create
		return []Change{change}, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(have)) == said.Data.Passcode && info.Mode().Perm() == secretMode {
		return nil, nil
	}
	return []Change{change}, nil
}

const secretMode = 0o600

// replaceSecret puts a secret into a file that is replaced as a whole: who reads
// it sees the old one or the new one, and nobody else sees any.
func replaceSecret(path, secret string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(secret + "\n")
	err = errors.Join(err, f.Chmod(secretMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
