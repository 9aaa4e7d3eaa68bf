#!/usr/bin/env bash
# A running deployment certifies a DICOM image through TLS with a key.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trust_and_authenticate
wait_until "ready" is_ready
certify 0
