// Reads the JSON body of a request: only application/json, at most ADMIN_BODY_BYTES_MAX, within a time. What is too long is
// read on for a little and thrown away, so that the client can see the refusal instead of a broken connection.

import type { IncomingMessage } from 'node:http';
import { ADMIN_BODY_BYTES_MAX } from '../../protocol/admin-api.ts';
import { type ApiFailure, apiFailure } from './api-failure.ts';

export const BODY_TIMEOUT_MS = 10_000;
/** Thrown away of a body that is too long before the connection is given up. */
const DISCARDED_BYTES_MAX = 4 * ADMIN_BODY_BYTES_MAX;

/** Undefined when there is no body. Rejects with ApiFailure; with another error when the client is gone. */
export async function readJsonBody(request: IncomingMessage, timeoutMs = BODY_TIMEOUT_MS): Promise<unknown> {
  const bytes = await readBytes(request, timeoutMs);
  if (bytes.length === 0) return undefined;
  if (!isJson(request.headers['content-type'])) {
    throw apiFailure('unsupportedMediaType', 'the body is not declared as JSON', {
      why: `its content type is ${quoteType(request.headers['content-type'])}`,
      help: 'send it as content-type: application/json',
    });
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    throw apiFailure('badRequest', 'the body is not JSON', { help: 'send one JSON object in UTF-8' });
  }
}

export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

function isJson(type: string | undefined): boolean {
  return type !== undefined && /^application\/json[ \t]*(;|$)/i.test(type.trim());
}

function quoteType(type: string | undefined): string {
  return type === undefined ? 'missing' : JSON.stringify(type.slice(0, 64));
}

function readBytes(request: IncomingMessage, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let length = 0;
    const end = (failure: ApiFailure | Error | null): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone);
      if (failure === null) resolve(Buffer.concat(pieces));
      else reject(failure);
    };
    const onData = (piece: Buffer): void => {
      length += piece.length;
      if (length <= ADMIN_BODY_BYTES_MAX) pieces.push(piece);
      else pieces.length = 0;
      if (length > DISCARDED_BYTES_MAX) end(tooLarge());
    };
    const onEnd = (): void => end(length > ADMIN_BODY_BYTES_MAX ? tooLarge() : null);
    const onGone = (): void => end(new Error('the client went away'));
    const timer = setTimeout(() => end(tooSlow(timeoutMs)), timeoutMs);
    request.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone);
  });
}

function tooLarge(): ApiFailure {
  return apiFailure('bodyTooLarge', 'the body is too long', { why: `at most ${ADMIN_BODY_BYTES_MAX} bytes are read` });
}

function tooSlow(timeoutMs: number): ApiFailure {
  return apiFailure('timeout', 'the body did not come in time', { why: `it took more than ${timeoutMs / 1000} s` });
}
