package extraction

import (
	"bytes"
	"strings"
	"sync"

	"github.com/flightlog/flightlog/schemas"
)

// Of a long result [ResultShape] keeps 32 KiB of what is left of each end. It
// reads twice as much, so that where the cut falls does not depend on how long
// the durations in it are.
const (
	shapeRead = 64 << 10
	shapeKept = 32 << 10
)

// ResultShape is the name of a result without what differs between two runs
// that do the same: [schemas.TextHash] of the text without durations, times of
// day, dates, uuids, addresses, process ids and names of temporary files
// (docs/detectors.md; what these are, docs/extraction.md says). All other
// numbers stay. The text is plain or JSON; of a long one 64 KiB at its start and
// end are read. Time is linear.
func ResultShape(text []byte) string {
	s := shapers.Get().(*shaper)
	defer shapers.Put(s)
	s.out = s.out[:0]
	if len(text) <= 2*shapeRead {
		s.copyOf(text)
		if n := len(s.out); n > 2*shapeKept {
			s.out = append(s.out[:shapeKept], s.out[n-shapeKept:]...)
		}
		return schemas.TextHash(s.out)
	}
	s.copyOf(text[:shapeRead])
	head := min(len(s.out), shapeKept)
	s.out = s.out[:head]
	s.copyOf(text[len(text)-shapeRead:])
	if n := len(s.out); n > head+shapeKept {
		s.out = append(s.out[:head], s.out[n-shapeKept:]...)
	}
	return schemas.TextHash(s.out)
}

// shaper copies a text without what differs. Its buffer is used again.
type shaper struct {
	text []byte
	at   int
	from int // what is before it was copied or left out
	out  []byte
}

var shapers = sync.Pool{New: func() any { return new(shaper) }}

// shapeByte are the bytes at which something may begin that is left out.
var shapeByte = func() (table [256]bool) {
	for b := '0'; b <= '9'; b++ {
		table[b] = true
	}
	for _, b := range []byte("\\\x1b/=-") {
		table[b] = true
	}
	return table
}()

// copyOf adds what is left of a text.
func (s *shaper) copyOf(text []byte) {
	s.text, s.at, s.from = text, 0, 0
	for {
		for i, b := range text[s.at:] {
			if shapeByte[b] {
				s.at += i
				break
			}
			if i == len(text)-s.at-1 {
				s.at = len(text)
				break
			}
		}
		if s.at >= len(text) {
			break
		}
		s.special()
	}
	s.at = len(text)
	s.flush()
	s.text = nil
}

// flush copies what stays before the place that is read.
func (s *shaper) flush() {
	s.out = append(s.out, s.text[s.from:s.at]...)
	s.from = s.at
}

// special reads what begins at a byte of shapeByte.
func (s *shaper) special() {
	b := s.text[s.at]
	switch {
	case isDigit(b):
		if s.starts() {
			s.digits()
			return
		}
		s.at += s.run(isDigit)
	case b == '\\' || b == 0x1b:
		s.at = min(s.at+s.escape(), len(s.text))
	case b == '=': // pytest fills its lines up to one width
		n := s.run(func(b byte) bool { return b == '=' })
		if s.at += min(n, 3); n > 3 {
			s.flush()
			s.at += n - 3
			s.from = s.at
		}
	case b == '-' && s.uuidAround():
		s.at -= 8
		s.drop(36)
	case b == '/':
		s.temporary()
	default:
		s.at++
	}
}

// run is how many of the next bytes are of a kind.
func (s *shaper) run(of func(byte) bool) int {
	n := 0
	for s.at+n < len(s.text) && of(s.text[s.at+n]) {
		n++
	}
	return n
}

// byteAt is a byte of the text, 0 where it has none.
func (s *shaper) byteAt(i int) byte {
	if i < 0 || i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// starts tells whether a word may begin here: no letter or digit is before it,
// unless it belongs to an escape (\n, ESC[2m).
func (s *shaper) starts() bool {
	if b := s.byteAt(s.at - 1); !isAlnum(b) && b != '_' && b != '.' {
		return true
	}
	return s.escaped(s.at)
}

// escaped tells whether an escape ends before i.
func (s *shaper) escaped(i int) bool {
	if i >= 2 && s.text[i-2] == '\\' && strings.IndexByte("nrtbf", s.text[i-1]) >= 0 {
		return true
	}
	if i < 3 || !isLetter(s.text[i-1]) {
		return false
	}
	from := i - 2
	for from > 0 && i-from < 12 && (isDigit(s.text[from]) || s.text[from] == ';') {
		from--
	}
	return s.text[from] == '[' && (s.byteAt(from-1) == 0x1b || bytes.HasSuffix(s.text[:from], []byte(`\u001b`)))
}

// escape is the length of an escape of JSON or of a terminal.
func (s *shaper) escape() int {
	n := 1
	if s.text[s.at] == '\\' {
		if n = 2; s.byteAt(s.at+1) != 'u' {
			return n
		}
		n = 6
		if s.at+n > len(s.text) || string(s.text[s.at:s.at+n]) != `\u001b` {
			return n
		}
	}
	if s.byteAt(s.at+n) != '[' {
		return n
	}
	for n++; n < 20 && (isDigit(s.byteAt(s.at+n)) || strings.IndexByte(";?", s.byteAt(s.at+n)) >= 0); {
		n++
	}
	return n + 1
}

// drop leaves n bytes out, with the blanks around them, and with brackets that
// hold nothing else: " (2 ms)" is there in one run and not in the next.
func (s *shaper) drop(n int) {
	s.flush()
	s.at += n
	for {
		s.trim()
		last := len(s.out) - 1
		if last < 0 || !(s.out[last] == '(' && s.byteAt(s.at) == ')' || s.out[last] == '[' && s.byteAt(s.at) == ']') {
			break
		}
		s.out = s.out[:last]
		s.at++
	}
	for b := s.byteAt(s.at); b == ' ' || b == '\t'; b = s.byteAt(s.at) {
		s.at++
	}
	s.from = s.at
}

func (s *shaper) trim() {
	for n := len(s.out); n > 0 && (s.out[n-1] == ' ' || s.out[n-1] == '\t'); n-- {
		s.out = s.out[:n-1]
	}
}

// digits reads a word that begins with a digit.
func (s *shaper) digits() {
	n := s.run(isDigit)
	next := s.byteAt(s.at + n)
	length := 0
	if (n == 8 && next == '-' || n < 8 && isHexDigit(next)) && s.isUUID(s.at) {
		length = 36
	}
	if length == 0 && n == 1 && next|0x20 == 'x' {
		length = s.address()
	}
	if length == 0 {
		length = s.time(n, next)
	}
	if length == 0 {
		length = s.duration(n, next)
	}
	if length == 0 {
		length = s.process(n, next)
	}
	if length > 0 {
		s.drop(length)
		return
	}
	s.at += s.run(func(b byte) bool { return isAlnum(b) || b == '.' })
}

// isUUID tells whether 8-4-4-4-12 hexadecimal digits stand at i.
func (s *shaper) isUUID(i int) bool {
	if i < 0 || i+36 > len(s.text) || isAlnum(s.byteAt(i+36)) {
		return false
	}
	for at, b := range s.text[i : i+36] {
		if dash := at == 8 || at == 13 || at == 18 || at == 23; dash != (b == '-') || !dash && !isHexDigit(b) {
			return false
		}
	}
	return true
}

func isHexDigit(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }

// uuidAround tells whether this is the first dash of a uuid that was begun.
func (s *shaper) uuidAround() bool {
	start := s.at - 8
	return s.byteAt(s.at+5) == '-' && start >= s.from && s.isUUID(start) && (!isAlnum(s.byteAt(start-1)) || s.escaped(start))
}

// address is the length of 0x and at least six digits: less is a number.
func (s *shaper) address() int {
	if s.text[s.at] != '0' || s.byteAt(s.at+1)|0x20 != 'x' {
		return 0
	}
	n := 2
	for isHexDigit(s.byteAt(s.at + n)) {
		n++
	}
	if n < 8 || isAlnum(s.byteAt(s.at+n)) {
		return 0
	}
	return n
}

// number is the length of the digits at i, with one fraction.
func (s *shaper) number(i int) int {
	start := i
	for isDigit(s.byteAt(i)) {
		i++
	}
	if b := s.byteAt(i); (b == '.' || b == ',') && i > start && isDigit(s.byteAt(i+1)) {
		for i++; isDigit(s.byteAt(i)); {
			i++
		}
	}
	return i - start
}

// units of time, the longer ones first where one begins another.
var units = func() (by [256][]string) {
	for _, unit := range []string{"milliseconds", "millisecond", "microseconds", "microsecond", "nanoseconds", "nanosecond", "msec",
		"ms", "ns", "us", "µs", "μs", "seconds", "second", "secs", "sec", "s", "minutes", "minute", "mins", "min", "m",
		"hours", "hour", "hrs", "hr", "h", "days", "day", "d"} {
		by[unit[0]] = append(by[unit[0]], unit)
	}
	return by
}()

// unit is the length of the unit at i, 0 for none.
func (s *shaper) unit(i int) (n int, name string) {
	for _, unit := range units[s.byteAt(i)] {
		if len(unit) <= len(s.text)-i && string(s.text[i:i+len(unit)]) == unit {
			if next := s.byteAt(i + len(unit)); !isLetter(next) && next != '_' {
				return len(unit), unit
			}
		}
	}
	return 0, ""
}

// duration is the length of a duration: 1.2 s, 171ms, 1m 3s, 0m1.2s, or a
// number after a word such as duration_ms.
func (s *shaper) duration(digits int, after byte) int {
	if after == ' ' && len(units[s.byteAt(s.at+digits+1)]) == 0 || len(units[after]) == 0 && after != ' ' && after != '.' && after != ',' {
		if s.keyed() && after != '%' && !isAlnum(after) {
			return digits
		}
		return 0
	}
	i, parts := s.at, 0
	var last string
	for {
		number := s.number(i)
		if number == 0 {
			break
		}
		at := i + number
		unit, name := s.unit(at)
		if unit == 0 && s.byteAt(at) == ' ' {
			at++
			if unit, name = s.unit(at); len(name) == 1 && name != "s" {
				unit = 0 // 3 m
			}
		}
		if unit == 0 {
			break
		}
		short := number <= 2
		i, parts, last = at+unit, parts+1, name
		if parts == 1 && (name == "m" && !short || name == "d") && !isDigit(s.byteAt(i)) && !(s.byteAt(i) == ' ' && isDigit(s.byteAt(i+1))) {
			return 0 // 250m of a processor, 3d
		}
		next := i
		for s.byteAt(next) == ' ' && next < i+1 {
			next++
		}
		if !isDigit(s.byteAt(next)) {
			break
		}
		if n, _ := s.unit(next + s.number(next)); n == 0 || last == "s" || last == "ms" {
			break // the number after it is one of its own
		}
		i = next
	}
	if parts > 0 && !isAlnum(s.byteAt(i)) {
		return i - s.at
	}
	n := s.number(s.at)
	if s.byteAt(s.at+n)|0x20 == 'e' { // 1e-05
		exponent := s.at + n + 1
		if s.byteAt(exponent) == '-' || s.byteAt(exponent) == '+' {
			exponent++
		}
		if digits := s.number(exponent); digits > 0 {
			n = exponent + digits - s.at
		}
	}
	if isAlnum(s.byteAt(s.at+n)) || s.byteAt(s.at+n) == '%' || !s.keyed() {
		return 0
	}
	return n
}

// timeKeys are the words before a number that is a duration, a time, or the id
// of a process. So are time and ts with
// : or = after them.
var timeKeys = set(`duration duration_ms durationms duration_s durationseconds totaldurationms elapsed elapsed_ms
	elapsedms elapsed_time took timestamp uptime starttime endtime pid ppid goroutine`)

// keyed tells whether one of timeKeys is before the number, in any case, with
// blanks, quotes, : and = between.
func (s *shaper) keyed() bool {
	end, mark := s.at, false
	for end > 0 && s.at-end < 8 {
		b := s.text[end-1]
		if b != ' ' && b != '"' && b != '\'' && b != '\\' && b != ':' && b != '=' {
			break
		}
		mark = mark || b == ':' || b == '='
		end--
	}
	if end == s.at || end == 0 || strings.IndexByte("nsdkpe", s.text[end-1]|0x20) < 0 {
		return false
	}
	start := end
	for start > 0 && end-start < 20 && (isLetter(s.text[start-1]) || s.text[start-1] == '_') {
		start--
	}
	if start >= 1 && s.text[start-1] == '\\' {
		start++ // the n of \n
	}
	if start >= end {
		return false
	}
	var lower [24]byte
	key := lower[:0]
	for _, b := range s.text[start:end] {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		key = append(key, b)
	}
	if mark && (string(key) == "time" || string(key) == "ts") {
		return true
	}
	return timeKeys[string(key)]
}

// process is the length of the id of a process in the forms of a shell's
// "[1] 12345", of node's "(node:12345)" and of "==12345==".
func (s *shaper) process(n int, next byte) int {
	if strings.IndexByte(")=\n\r\\\"\x00", next) < 0 {
		return 0
	}
	before := s.text[max(0, s.at-8):s.at]
	switch {
	case bytes.HasSuffix(before, []byte("(node:")) && next == ')', bytes.HasSuffix(before, []byte("==")) && next == '=':
		return n
	case n >= 3 && next != ')' && next != '=' && bytes.HasSuffix(before, []byte("] ")):
		i := len(before) - 3
		for i > 0 && isDigit(before[i]) {
			i--
		}
		if start := s.at - len(before) + i; i < len(before)-3 && before[i] == '[' && (start == 0 || strings.IndexByte("\nn\"", s.text[start-1]) >= 0) {
			return n
		}
	}
	return 0
}

// time is the length of a date, a time of day, or both, in the forms of ISO
// 8601, of HTTP, of web servers' logs, of date and of ls; or of 13 digits that
// count milliseconds since 1970.
func (s *shaper) time(digits int, after byte) int {
	if digits == 13 && s.text[s.at] == '1' && !isAlnum(after) {
		return digits
	}
	switch {
	case digits > 8:
		return 0
	case after == '-' || after == '/' || after == ':' || after == 'T':
	case digits > 2 || !s.monthBefore(s.at) && (after != ' ' || s.month(s.at+digits+1) == 0):
		return 0
	}
	i := s.at
	date := s.date(i)
	if date == 0 {
		if n := s.clock(i, s.byteAt(i-1) == ':'); n > 0 {
			return s.zone(i+n) - s.at
		}
		return 0
	}
	i += date
	next := i
	switch b := s.byteAt(i); {
	case b == 'T' || b == ' ' || b == ':' || b == 't':
		next++
	case b == ',' && s.byteAt(i+1) == ' ':
		next += 2
	}
	if next > i {
		if s.monthBefore(s.at) && s.pattern(next, "dddd") == 4 && !isDigit(s.byteAt(next+4)) { // Jan 2, 2006
			i, next = next+4, next+4
			if s.byteAt(next) == ' ' {
				next++
			}
		}
		if n := s.clock(next, false); n > 0 {
			i = s.zone(next + n)
		} else if n := s.pattern(next, "dd:dd"); n > 0 && next > i && !isAlnum(s.byteAt(next+n)) {
			i = s.zone(next + n)
		}
	}
	if s.byteAt(i) == ' ' && s.monthBefore(s.at) && s.pattern(i+1, "dddd") == 4 && !isAlnum(s.byteAt(i+5)) { // Mon Jan 2 15:04:05 2006
		i += 5
	}
	s.dropMonth()
	return i - s.at
}

// pattern is the length of a form at i, with d for a digit and D for an
// optional one; 0 if it does not fit.
func (s *shaper) pattern(i int, form string) int {
	start := i
	for at := range len(form) {
		switch b := s.byteAt(i); {
		case form[at] == 'd' && isDigit(b), form[at] != 'd' && form[at] != 'D' && form[at] == b:
			i++
		case form[at] == 'D':
			if isDigit(b) {
				i++
			}
		default:
			return 0
		}
	}
	return i - start
}

// date is the length of a date at i.
func (s *shaper) date(i int) int {
	for _, form := range []string{"dddd-dd-dd", "dddd/dd/dd", "dd/dd/dddd", "dddddddd"} {
		n := s.pattern(i, form)
		if n == 0 || isDigit(s.byteAt(i+n)) {
			continue
		}
		if form == "dddddddd" { // only as 20060102T150405
			if s.byteAt(i+n) != 'T' || s.pattern(i+n+1, "dddd") == 0 {
				continue
			}
			for n++; isDigit(s.byteAt(i + n)); {
				n++
			}
			return n
		}
		return n
	}
	n := s.pattern(i, "dD")
	if n == 0 || isAlnum(s.byteAt(i+n)) {
		return 0
	}
	// 2 Jan 2006, 02/Jan/2006, 02-Jan-2006
	if b := s.byteAt(i + n); b == ' ' || b == '/' || b == '-' {
		if month := s.month(i + n + 1); month > 0 {
			after := i + n + 1 + month
			if s.byteAt(after) == b && s.pattern(after+1, "dddd") == 4 && !isDigit(s.byteAt(after+5)) {
				return after + 5 - i
			}
			return 0
		}
	}
	if s.monthBefore(i) {
		return n
	}
	return 0
}

var months = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
	"November", "December"}

// month is the length of the name of a month at i, whole or of three letters.
func (s *shaper) month(i int) int {
	if b := s.byteAt(i); b < 'A' || b > 'S' {
		return 0
	}
	for _, name := range months {
		for _, n := range []int{len(name), 3} {
			if i+n <= len(s.text) && string(s.text[i:i+n]) == name[:n] && !isAlnum(s.byteAt(i+n)) {
				return n
			}
		}
	}
	return 0
}

// monthBefore tells whether the name of a month ends one or two blanks before i.
func (s *shaper) monthBefore(i int) bool { return s.monthStart(i) >= 0 }

func (s *shaper) monthStart(i int) int {
	end := i
	for end > 0 && i-end < 2 && s.text[end-1] == ' ' {
		end--
	}
	if end == i || end == 0 || !isLetter(s.text[end-1]) {
		return -1
	}
	start := end
	for start > 0 && end-start < 10 && isLetter(s.text[start-1]) {
		start--
	}
	if start > 0 && s.text[start-1] == '\\' {
		start++
	}
	if start >= end || s.month(start) != end-start {
		return -1
	}
	return start
}

// dropMonth takes the month and the day of the week that were copied before a
// date out again.
func (s *shaper) dropMonth() {
	s.flush()
	if start := s.monthStart(s.at); start >= 0 {
		s.out = s.out[:max(0, len(s.out)-(s.at-start))]
	}
	s.trim()
	out := bytes.TrimSuffix(s.out, []byte(","))
	for _, day := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
		if bytes.HasSuffix(out, []byte(day)) {
			s.out = out[:len(out)-3]
		}
	}
}

// clock is the length of a time of day at i, h:mm:ss with a fraction, or h:mm
// with am or pm. After a colon it is a place in a file.
func (s *shaper) clock(i int, afterColon bool) int {
	n := s.pattern(i, "dD:dd:dd")
	if n == 0 || afterColon {
		n = s.pattern(i, "dD:dd")
		for at, tail := 0, s.text[min(len(s.text), i+n):]; n > 0 && at < 2; at++ {
			if len(tail) > at+1 && tail[at+1]|0x20 == 'm' && (tail[at]|0x20 == 'a' || tail[at]|0x20 == 'p') && (len(tail) == at+2 || !isAlnum(tail[at+2])) {
				return n + at + 2
			}
			if len(tail) <= at || tail[at] != ' ' {
				break
			}
		}
		return 0
	}
	if b := s.byteAt(i + n); (b == '.' || b == ',') && isDigit(s.byteAt(i+n+1)) {
		for n++; isDigit(s.byteAt(i + n)); {
			n++
		}
	}
	if b := s.byteAt(i + n); isDigit(b) || b == ':' && isDigit(s.byteAt(i+n+1)) {
		return 0
	}
	return n
}

// zone is where the zone of a time ends that ends at i: Z, +02:00, -0700, UTC,
// AM.
func (s *shaper) zone(i int) int {
	if s.byteAt(i) == 'Z' {
		return i + 1
	}
	at := i
	if s.byteAt(at) == ' ' {
		at++
	}
	if b := s.byteAt(at); b == '+' || b == '-' {
		for _, form := range []string{"dd:dd", "dddd"} {
			if n := s.pattern(at+1, form); n > 0 && !isAlnum(s.byteAt(at+1+n)) {
				i = at + 1 + n
			}
		}
	}
	at = i
	if s.byteAt(at) == ' ' {
		at++
	}
	for _, name := range []string{"UTC", "GMT", "CET", "CEST", "AM", "PM"} {
		if at+len(name) <= len(s.text) && string(s.text[at:at+len(name)]) == name && !isAlnum(s.byteAt(at+len(name))) {
			return at + len(name)
		}
	}
	return i
}

// temporaryFolders hold files whose names are made up.
var temporaryFolders = []string{"/tmp/", "/var/tmp/", "/var/folders/"}

// temporary reads a slash: below a folder for temporary files the first name
// is left out, with pytest the second too, in macOS's folder all up to it.
func (s *shaper) temporary() {
	if next := s.byteAt(s.at + 1); next != 't' && next != 'v' {
		s.at++
		return
	}
	before := s.byteAt(s.at - 1)
	if isAlnum(before) && !s.escaped(s.at) || before == '_' || before == '.' || before == '~' || before == '-' {
		// /private/tmp
		if !bytes.HasSuffix(s.text[:s.at], []byte("/private")) {
			s.at++
			return
		}
	}
	for _, folder := range temporaryFolders {
		if !bytes.HasPrefix(s.text[s.at:], []byte(folder)) {
			continue
		}
		s.at += len(folder)
		s.flush()
		names := 1
		if folder == "/var/folders/" {
			names = 4
		} else if bytes.HasPrefix(s.text[s.at:], []byte("pytest-of-")) {
			names = 2
		}
		for ; names > 0; names-- {
			s.at += s.run(func(b byte) bool {
				return isAlnum(b) || b >= 0x80 || strings.IndexByte("._-+@%~#", b) >= 0
			})
			if names > 1 && s.byteAt(s.at) == '/' {
				s.at++
			}
		}
		s.from = s.at
		return
	}
	s.at++
}
