package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ClientConfig says where a daemon's registry is.
type ClientConfig struct {
	// Registry is its host and port; it is spoken to by plain HTTP.
	Registry string
	// Token is the registry's token, if it asks for one.
	Token string
	// HTTP makes the requests; nil means http.DefaultClient.
	HTTP *http.Client
}

// Client asks a daemon about its images. Pushing and pulling them is done by the distribution protocol.
type Client struct{ conf ClientConfig }

// NewClient makes a client; it connects with the first request.
func NewClient(c ClientConfig) *Client {
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	return &Client{c}
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: c.conf.Registry, Path: adminPrefix + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if c.conf.Token != "" {
		req.SetBasicAuth("fairlead", c.conf.Token)
	}
	resp, err := c.conf.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", c.conf.Registry, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, answerError(resp)
}

// answerError reads an error in the form of the distribution specification.
func answerError(resp *http.Response) error {
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // only for the message
	if json.Unmarshal(data, &doc) != nil || len(doc.Errors) == 0 {
		return fmt.Errorf("registry answers %s", resp.Status)
	}
	var err error = answered{doc.Errors[0].Message, nil}
	switch resp.StatusCode {
	case http.StatusNotFound:
		err = answered{doc.Errors[0].Message, ErrNotFound}
	case http.StatusMethodNotAllowed:
		err = answered{doc.Errors[0].Message, ErrInUse}
	case http.StatusInsufficientStorage:
		err = answered{doc.Errors[0].Message, ErrFull}
	case http.StatusUnauthorized:
		err = answered{doc.Errors[0].Message, ErrUnauthorized}
	}
	return err
}

// answered is an error of the daemon in its own words, which still is the sentinel it was there.
type answered struct {
	text string
	is   error
}

func (a answered) Error() string { return a.text }
func (a answered) Unwrap() error { return a.is }

func (c *Client) call(ctx context.Context, method, path string, query url.Values, out any) error {
	resp, err := c.do(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("registry %s: %w", c.conf.Registry, err)
	}
	return nil
}

func referenceQuery(reference string) url.Values { return url.Values{"reference": {reference}} }

// List gives every manifest of the store.
func (c *Client) List(ctx context.Context) ([]Summary, error) {
	var list []Summary
	return list, c.call(ctx, http.MethodGet, "", nil, &list)
}

// Inspect gives the details of an image.
func (c *Client) Inspect(ctx context.Context, reference string) (Details, error) {
	var d Details
	return d, c.call(ctx, http.MethodGet, "/inspect", referenceQuery(reference), &d)
}

// Tag gives an image one more name.
func (c *Client) Tag(ctx context.Context, reference, target string) error {
	query := referenceQuery(reference)
	query.Set("target", target)
	return c.call(ctx, http.MethodPost, "/tag", query, nil)
}

// Remove takes a tag, or a manifest named by digest, out of the store.
func (c *Client) Remove(ctx context.Context, reference string) error {
	return c.call(ctx, http.MethodPost, "/remove", referenceQuery(reference), nil)
}

// Prune collects what nothing needs.
func (c *Client) Prune(ctx context.Context, q PruneRequest) (PruneReport, error) {
	query := url.Values{"now": {fmt.Sprint(q.Now)}, "dry-run": {fmt.Sprint(q.DryRun)}}
	var report PruneReport
	return report, c.call(ctx, http.MethodPost, "/prune", query, &report)
}

// Pull has the daemon bring an image; progress may be nil.
func (c *Client) Pull(ctx context.Context, q PullRequest, progress func(PullProgress)) (Pulled, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Pulled{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/pull", nil, bytes.NewReader(body))
	if err != nil {
		return Pulled{}, err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var e PullEvent
		if err := lines.Decode(&e); err != nil {
			return Pulled{}, fmt.Errorf("pull %s: the daemon's answer ends early: %w", q.Reference, err)
		}
		switch {
		case e.Unreachable:
			return Pulled{}, unreachableError(e.Error)
		case e.Error != "":
			return Pulled{}, errors.New(e.Error)
		case e.Pulled != nil:
			return *e.Pulled, nil
		case e.Progress != nil && progress != nil:
			progress(*e.Progress)
		}
	}
}

// Export writes an image as the tar archive of an OCI layout.
func (c *Client) Export(ctx context.Context, reference string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/export", referenceQuery(reference), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("export %s: %w", reference, err)
	}
	if trailer := resp.Trailer.Get(exportTrailer); trailer != "complete" {
		return fmt.Errorf("export %s: the daemon stopped in the middle: %s", reference, strings.TrimSpace(trailer))
	}
	return nil
}

// Import reads the tar archive of an OCI layout or of docker save, and gives the names of the images in it. reference
// names an image that has no name of its own; it may be empty.
func (c *Client) Import(ctx context.Context, reference string, r io.Reader) ([]string, error) {
	resp, err := c.do(ctx, http.MethodPost, "/import", referenceQuery(reference), io.NopCloser(r))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var names []string
	if err := json.NewDecoder(resp.Body).Decode(&names); err != nil {
		return nil, fmt.Errorf("registry %s: %w", c.conf.Registry, err)
	}
	return names, nil
}

// unreachableError is ErrUnreachable in the words of the daemon.
type unreachableError string

func (e unreachableError) Error() string { return string(e) }
func (unreachableError) Unwrap() error   { return ErrUnreachable }
