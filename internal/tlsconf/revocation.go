package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// revocation rejects client certificates on a list of tls_crl_file. An authority without a list is
// not checked. Outdated lists stay in use, because stopping backups after a missed renewal would do
// more harm.
func (b *builder) revocation(config *tls.Config) error {
	const option = "tls_crl_file"
	path := b.conf.String(option)
	if path == "" {
		return nil
	}
	data, err := b.read(option, path)
	if err != nil {
		return err
	}
	var lists []*x509.RevocationList
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return b.conf.Errorf(option, "%s: %v", path, err)
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return b.conf.Errorf(option, "%s: no revocation list in the file", path)
	}
	// Unlike VerifyPeerCertificate this is called for resumed sessions too.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		for _, chain := range state.VerifiedChains {
			if err := checkChain(chain, lists); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func checkChain(chain []*x509.Certificate, lists []*x509.RevocationList) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		for _, list := range lists {
			if list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return fmt.Errorf("certificate of %q is revoked", cert.Subject)
				}
			}
		}
	}
	return nil
}
