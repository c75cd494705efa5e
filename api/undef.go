package api

// UnmarshalBinary implements encoding.BinaryUnmarshaler. No bytes are the absent CID,
// as MarshalBinary writes it: a record that lacks one can be read back.
func (c *Cid) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		*c = CidUndef
		return nil
	}
	return c.Cid.UnmarshalBinary(b)
}
