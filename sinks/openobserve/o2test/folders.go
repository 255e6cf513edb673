package o2test

import (
	"net/http"
	"slices"
	"strconv"
)

// folder holds dashboards.
type folder struct {
	org        string
	dashboards []*dashboard

	ID          string `json:"folderId"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// defaultFolder is in every organisation, though nobody made it.
const defaultFolder = "default"

// nextID is a new id as the server makes them: a number as text. The caller
// holds s.mu.
func (s *Server) nextID() string {
	s.ids++
	return strconv.FormatInt(7_530_447_768_000_000_000+s.ids, 10)
}

// folder finds a folder; nil = there is none. The caller holds s.mu.
func (s *Server) folder(org, id string) *folder {
	if id == "" {
		id = defaultFolder
	}
	i := slices.IndexFunc(s.folders, func(f *folder) bool { return f.org == org && f.ID == id })
	if i >= 0 {
		return s.folders[i]
	}
	if id != defaultFolder {
		return nil
	}
	f := &folder{org: org, ID: id, Name: id}
	s.folders = append(s.folders, f)
	return f
}

func (s *Server) folderNamed(org, name string) *folder {
	i := slices.IndexFunc(s.folders, func(f *folder) bool { return f.org == org && f.Name == name })
	if i < 0 {
		return nil
	}
	return s.folders[i]
}

// folderBody is what a request says of a folder.
type folderBody struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// reply is an answer that was made while Server.mu was held, to be sent when it
// is not.
type reply struct {
	status int
	body   any
}

func said(status int, text string) reply { return reply{status, message{status, text}} }

// locked makes an answer while s.mu is held.
func (q *request) locked(make func(s *Server, org string) reply) {
	q.server.mu.Lock()
	r := make(q.server, q.vars["org"])
	q.server.mu.Unlock()
	q.answer(r.status, r.body)
}

var noFolder = said(http.StatusNotFound, "Folder not found")

func (q *request) createFolder() {
	var b folderBody
	if !q.decode(&b) {
		return
	}
	q.locked(func(s *Server, org string) reply {
		if s.folderNamed(org, b.Name) != nil {
			return said(http.StatusBadRequest, "Folder with this name already exists in this organization")
		}
		f := &folder{org: org, ID: s.nextID(), Name: b.Name, Description: b.Description}
		s.folders = append(s.folders, f)
		return reply{http.StatusOK, *f}
	})
}

func (q *request) listFolders() {
	q.locked(func(s *Server, org string) reply {
		a := struct {
			List []folder `json:"list"`
		}{[]folder{*s.folder(org, defaultFolder)}}
		for _, f := range s.folders {
			if f.org == org && f.ID != defaultFolder {
				a.List = append(a.List, *f)
			}
		}
		return reply{http.StatusOK, a}
	})
}

func (q *request) folderByName() {
	q.locked(func(s *Server, org string) reply {
		if f := s.folderNamed(org, q.vars["name"]); f != nil {
			return reply{http.StatusOK, *f}
		}
		return noFolder
	})
}

func (q *request) showFolder() {
	q.locked(func(s *Server, org string) reply {
		if f := s.folder(org, q.vars["id"]); f != nil {
			return reply{http.StatusOK, *f}
		}
		return noFolder
	})
}

func (q *request) changeFolder() {
	var b folderBody
	if !q.decode(&b) {
		return
	}
	q.locked(func(s *Server, org string) reply {
		f := s.folder(org, q.vars["id"])
		if f == nil {
			return noFolder
		}
		f.Name, f.Description = b.Name, b.Description
		return said(http.StatusOK, "Folder updated")
	})
}

func (q *request) deleteFolder() {
	q.locked(func(s *Server, org string) reply {
		f := s.folder(org, q.vars["id"])
		switch {
		case f == nil:
			return noFolder
		case len(f.dashboards) > 0:
			return said(http.StatusBadRequest, "Folder contains dashboards, please move/delete dashboards from folder")
		}
		s.folders = slices.DeleteFunc(s.folders, func(other *folder) bool { return other == f })
		return said(http.StatusOK, "Folder deleted")
	})
}
