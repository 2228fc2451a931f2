// Reads a published log with Go's own transparency log libraries, and none of this project's code.
//
//	read_log <url> <verifier key> [<old size>:<old root, base64>]...
//
// Verifies the checkpoint's signature, every entry's inclusion, and consistency with each older tree.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	size, err := audit(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "REFUSED:", err)
		os.Exit(1)
	}
	fmt.Println("ACCEPTED", size)
}

func audit(url, key string, older []string) (int64, error) {
	tree, err := checkpoint(url, key)
	if err != nil {
		return 0, err
	}
	reader := tlog.TileHashReader(tree, tiles(url))
	for start := int64(0); start < tree.N; start += 1 << height {
		entries, err := bundle(url, start>>height, min(tree.N-start, 1<<height))
		if err != nil {
			return 0, err
		}
		for offset, entry := range entries {
			index := start + int64(offset)
			proof, err := tlog.ProveRecord(tree.N, index, reader)
			if err != nil {
				return 0, err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
				return 0, fmt.Errorf("inclusion of %d: %w", index, err)
			}
		}
	}
	for _, text := range older {
		size, root, _ := strings.Cut(text, ":")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return 0, err
		}
		hash, err := tlog.ParseHash(root)
		if err != nil {
			return 0, err
		}
		proof, err := tlog.ProveTree(tree.N, n, reader)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, n, hash); err != nil {
			return 0, fmt.Errorf("consistency with %d: %w", n, err)
		}
	}
	return tree.N, nil
}

func checkpoint(url, key string) (tlog.Tree, error) {
	raw, err := get(url + "/checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

type tiles string

func (url tiles) Height() int { return height }

func (url tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (url tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		// C2SP fixes the height at 8 and leaves it out of the path.
		data, err := get(string(url) + "/" + strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func bundle(url string, number, count int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: -1, N: number, W: int(count)}
	data, err := get(url + "/" + strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) >= 2 && len(data) >= 2+int(binary.BigEndian.Uint16(data)) {
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(data) != 0 || int64(len(entries)) != count {
		return nil, fmt.Errorf("bundle %d has not %d entries", number, count)
	}
	return entries, nil
}

func get(url string) ([]byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, 1<<25))
}
