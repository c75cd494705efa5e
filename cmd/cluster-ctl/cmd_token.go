package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newToken(c *ctl) *cobra.Command {
	return parent("token", "Make and revoke tokens, which stand in for a password", newTokenCreate(c), newTokenRevoke(c))
}

func newTokenCreate(c *ctl) *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{Use: "create", Short: "Print a token for the user of --basic-auth", Args: cobra.NoArgs,
		Long: "Print a token for the user of --basic-auth. A client sends it as \"Authorization: Bearer TOKEN\";\n" +
			"any peer on which that user has that password takes it, until it ends or is revoked.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 {
				return errors.New("reading --ttl: it must not be negative")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			token, err := cl.NewToken(cmd.Context(), ttl)
			if err != nil {
				return err
			}
			if c.enc() == encJSON {
				return newPrinter(c.out, encJSON).json(token)
			}
			_, err = fmt.Fprintln(c.out, token.Token)
			return err
		}}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the token is good, such as 720h; 0 is 90 days")
	return cmd
}

func newTokenRevoke(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "revoke TOKEN", Short: "Revoke a token, or the one with that ID, on every peer", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return cl.RevokeToken(cmd.Context(), tokenID(args[0]))
		}}
}

// tokenID is the ID in a token (RFC 7519: the claim jti); what is no token is an ID.
func tokenID(s string) string {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return s
	}
	var claims struct {
		ID string `json:"jti"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &claims) != nil || claims.ID == "" {
		return s // the server says what is wrong with it
	}
	return claims.ID
}
