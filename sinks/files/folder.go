package files

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// open opens a folder, makes it if need be, and cuts its files back to its
// checkpoint.
func open(dir, name string, pace pace, store store) (_ *Sink, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot open the rows in %s: %w", dir, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := acquire(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Sink{dir: dir, lock: lock, store: store, pace: pace, done: checkpoint{name: name, Version: 1, Files: map[string]int64{}}}
	created := false
	if err = s.done.load(dir); err == nil {
		created, err = store.open(&s.done)
	}
	if err == nil && created {
		// From here on, rows beyond the checkpoint are known to be ours to cut.
		err = s.done.store(dir)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close(), lock.Close())
	}
	return s, nil
}

// rowFile is a file of lines, written at its end.
type rowFile struct {
	file   *os.File
	out    *bufio.Writer
	length int64 // bytes, buffered ones included
	dirty  bool  // not all is on disk
}

// openRows opens a file and cuts it back to length. One that the checkpoint does
// not list must be new or empty.
func openRows(name, checkpoint string, length int64, listed bool) (*rowFile, error) {
	mode := os.O_WRONLY
	if !listed {
		mode |= os.O_CREATE
	}
	f, err := os.OpenFile(name, mode, 0o600)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%s is missing, but its checkpoint says %d bytes: %w", filepath.Base(name), length, err)
		}
		return nil, err
	}
	if err := cut(f, checkpoint, length, listed); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &rowFile{file: f, out: bufio.NewWriterSize(f, 256<<10), length: length}, nil
}

func cut(f *os.File, checkpoint string, length int64, listed bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(f.Name())
	switch {
	case !listed && info.Size() > 0:
		return fmt.Errorf("%s holds %d bytes, but %s does not know of it: move it away", name, info.Size(), checkpoint)
	case info.Size() < length:
		return fmt.Errorf("%s holds %d bytes, but its checkpoint says %d: rows are lost", name, info.Size(), length)
	}
	if err := f.Truncate(length); err != nil {
		return err
	}
	_, err = f.Seek(length, 0)
	return err
}

func (f *rowFile) append(rows []byte) error {
	n, err := f.out.Write(rows)
	f.length += int64(n)
	f.dirty = f.dirty || n > 0
	return err
}

// sync returns once all rows are on disk.
func (f *rowFile) sync() error {
	if !f.dirty {
		return nil
	}
	f.dirty = false
	return errors.Join(f.out.Flush(), f.file.Sync())
}

func (f *rowFile) Close() error { return f.file.Close() }

// acquire takes the right to write into a folder; it ends with the file, or
// with the process.
func acquire(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another sink writes to it")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
