package gateway

import "maps"

// hostFan is how many branches the index has on each of its two levels.
const hostFan = 64

// hostIndex finds routes by name. A copy of the value shares all of it: put is for an index that nobody else has yet, with and without are for
// one that is read meanwhile. They cost the same however many names there are, up to some hundred thousand. The zero value is empty.
type hostIndex struct {
	len  int
	rows [hostFan]*hostRow
}

type hostRow [hostFan]map[string]*route

// hostPlace is the row and the column of a name: FNV-1a, which is good enough for names that the machine's owner chose.
func hostPlace(name string) (row, column uint32) {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h % hostFan, h / hostFan % hostFan
}

// get gives the route of a name, nil if there is none.
func (x *hostIndex) get(name string) *route {
	row, column := hostPlace(name)
	if x.rows[row] == nil {
		return nil
	}
	return x.rows[row][column][name]
}

// put sets the route of a name in place.
func (x *hostIndex) put(name string, r *route) {
	row, column := hostPlace(name)
	if x.rows[row] == nil {
		x.rows[row] = &hostRow{}
	}
	cell := &x.rows[row][column]
	if *cell == nil {
		*cell = map[string]*route{}
	}
	if (*cell)[name] == nil {
		x.len++
	}
	(*cell)[name] = r
}

// with sets the route of a name and leaves what copies of the index share as it is.
func (x *hostIndex) with(name string, r *route) {
	x.own(name)
	x.put(name, r)
}

// without takes a name out and leaves what copies of the index share as it is.
func (x *hostIndex) without(name string) {
	if x.get(name) == nil {
		return
	}
	x.own(name)
	row, column := hostPlace(name)
	delete(x.rows[row][column], name)
	x.len--
}

// own copies what is changed together with a name.
func (x *hostIndex) own(name string) {
	row, column := hostPlace(name)
	if x.rows[row] == nil {
		return
	}
	fresh := *x.rows[row]
	fresh[column] = maps.Clone(fresh[column])
	x.rows[row] = &fresh
}
