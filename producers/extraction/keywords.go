package extraction

// keywords finds many words in a text in one pass, without regard to ASCII
// case (Aho-Corasick, with every transition worked out): about a nanosecond a
// byte, however many words there are.
type keywords struct {
	class [256]uint16 // by byte: which column of next, 0 for bytes in no word
	width uint16      // columns
	next  []uint32    // by state * width + class: the next state, already times width
	found [][]int32   // by state: the words that end here
	first uint32      // states from here on (times width) end a word
}

// newKeywords prepares words, given in lower case; they are named by their
// index.
func newKeywords(words []string) *keywords {
	k := &keywords{width: 1}
	for _, word := range words {
		for i := range len(word) {
			if k.class[word[i]] == 0 {
				k.class[word[i]] = k.width
				k.width++
			}
		}
	}
	for c := byte('a'); c <= 'z'; c++ {
		k.class[c-'a'+'A'] = k.class[c]
	}
	trie := []map[uint16]int{{}}
	ends := [][]int32{nil}
	for i, word := range words {
		state := 0
		for j := range len(word) {
			class := k.class[word[j]]
			to, ok := trie[state][class]
			if !ok {
				to = len(trie)
				trie[state][class] = to
				trie, ends = append(trie, map[uint16]int{}), append(ends, nil)
			}
			state = to
		}
		ends[state] = append(ends[state], int32(i))
	}
	return k.connect(trie, ends)
}

// connect turns the trie into transitions, in the order of depth: where a
// state has no child, it goes where the longest proper suffix of it goes.
func (k *keywords) connect(trie []map[uint16]int, ends [][]int32) *keywords {
	width := int(k.width)
	next := make([]int, len(trie)*width)
	suffix := make([]int, len(trie))
	order := []int{0}
	for at := 0; at < len(order); at++ {
		state := order[at]
		ends[state] = append(ends[state], ends[suffix[state]]...)
		for class := range width {
			other := 0
			if state != 0 {
				other = next[suffix[state]*width+class]
			}
			if child, ok := trie[state][uint16(class)]; ok {
				suffix[child] = other
				other = child
				order = append(order, child)
			}
			next[state*width+class] = other
		}
	}
	// States that end a word are numbered last, so that one comparison tells.
	number := make([]int, len(trie))
	last := 0
	for _, ending := range []bool{false, true} {
		if ending {
			k.first = uint32(last * width)
		}
		for state := range trie {
			if (len(ends[state]) > 0) == ending {
				number[state] = last
				last++
			}
		}
	}
	k.next = make([]uint32, len(next))
	k.found = make([][]int32, len(trie))
	for state, at := range number {
		k.found[at] = ends[state]
		for class := range width {
			k.next[at*width+class] = uint32(number[next[state*width+class]] * width)
		}
	}
	return k
}

// scan calls found for every word in the text, with the offset after it, until
// found returns false.
func scan[T string | []byte](k *keywords, text T, found func(word, end int) bool) {
	state := uint32(0)
	for i := range len(text) {
		state = k.next[state+uint32(k.class[text[i]])]
		if state < k.first {
			continue
		}
		for _, word := range k.found[state/uint32(k.width)] {
			if !found(int(word), i+1) {
				return
			}
		}
	}
}
