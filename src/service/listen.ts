// Where a process listens for TCP: the address as a person gives it, the certificate from its files; and what a system says when it does
// not work, in a person's words. For the controller's port, its metrics, and a relay's.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { familyOf, parseAddress } from '../base/ip.ts';
import { errorCode, errorMessage, StartError } from './start-error.ts';

export interface ListenAddress {
  /** `::` is every address of both families. */
  readonly host: string;
  readonly port: number;
}

export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** `ADDR:PORT`, `[ADDR6]:PORT`, `:PORT`; port 0 = a free one. Null when malformed. */
export function parseListen(text: string): ListenAddress | null {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]*)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (parts === null || port > 65_535) return null;
  const host = parts[1] ?? parts[2] ?? '';
  if (host === '') return { host: '::', port };
  const address = parseAddress(host);
  return address === null || (parts[1] !== undefined) !== (familyOf(address) === 6) ? null : { host: address, port };
}

export function showListen({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What listen(2) refused. */
export function listenError(error: unknown, address: ListenAddress, option: string): StartError {
  const what = `cannot listen on ${showListen(address)}`;
  const { port } = address;
  switch (errorCode(error)) {
    case 'EADDRINUSE':
      return new StartError({
        what,
        why: `port ${port} is in use`,
        help: `ss -ltnp 'sport = :${port}' shows by whom; stop it, or choose another with ${option} ADDR:PORT`,
      });
    case 'EACCES':
      return new StartError({
        what,
        why: `ports below 1024 need CAP_NET_BIND_SERVICE`,
        help: `choose another with ${option} ADDR:PORT, or give the capability (AmbientCapabilities= in systemd)`,
      });
    case 'EADDRNOTAVAIL':
      return new StartError({
        what,
        why: 'no interface of this machine has that address',
        help: `\`ip address\` shows those there are; [::]:${port} is all of them`,
      });
    default:
      return new StartError({
        what,
        why: errorMessage(error),
        help: `choose another address with ${option} ADDR:PORT`,
      });
  }
}

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** Reads and checks both. Throws StartError. */
export function readCertificate(files: CertificateFiles, wall: number): Certificate {
  const certificate = { cert: readPart(files.cert, 'certificate'), key: readPart(files.key, "certificate's key") };
  try {
    createSecureContext(certificate);
  } catch (error) {
    const mismatch = errorCode(error) === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH';
    throw new StartError({
      what: `cannot use the certificate ${files.cert}`,
      why: mismatch ? `${files.key} is the key of another certificate` : errorMessage(error),
      help: '--tls-cert wants the certificate and its chain in PEM, --tls-key its private key in PEM, not encrypted',
    });
  }
  const { validTo } = new X509Certificate(certificate.cert);
  if (Date.parse(validTo) < wall) {
    throw new StartError({
      what: `cannot use the certificate ${files.cert}`,
      why: `it expired on ${new Date(validTo).toISOString()}`,
      help: 'renew it; when it was renewed already, see that --tls-cert names the new file',
    });
  }
  return certificate;
}

function readPart(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const why = { ENOENT: 'there is no such file', EACCES: 'it may not be read by this user' }[errorCode(error) ?? ''];
    throw new StartError({
      what: `cannot read the ${what} ${path}`,
      why: why ?? errorMessage(error),
      help: 'check --tls-cert and --tls-key, and whose the files are',
    });
  }
}
