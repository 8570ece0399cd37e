import { once } from 'node:events';
import { createConnection } from 'node:net';
import { TOKEN } from './stack.mjs';

const HEAD_END = Buffer.from('\r\n\r\n');

/** A POST's bytes, whole, as they go over a kept connection. */
export function postOf(url, body, type) {
  const { host, pathname } = new URL(url);
  const lines = [
    `POST ${pathname} HTTP/1.1`,
    `host: ${host}`,
    `content-type: ${type}`,
    `content-length: ${body.length}`,
    `authorization: Bearer ${TOKEN}`,
  ];
  return Buffer.concat([Buffer.from(lines.join('\r\n')), HEAD_END, body]);
}

/**
 * One kept connection, request after request, with no more work than the protocol asks for (RFC 9112). Node's own client takes as much of
 * a processor for an event as the server does, and the load generator is no part of what is measured.
 */
export async function connectHttp(url) {
  const { hostname, port } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port), noDelay: true });
  await once(socket, 'connect');
  let answer = Buffer.alloc(0);
  let waiting = null;

  function settle(error) {
    const asked = waiting;
    waiting = null;
    if (error) asked?.reject(error);
    else asked?.resolve();
  }
  socket.on('data', (chunk) => {
    answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
    const length = lengthOf(answer);
    if (length === null || answer.length < length) return;
    const said = answer;
    answer = Buffer.alloc(0);
    if (said.length > length) settle(new Error('the server answered more than it was asked'));
    else if (/^HTTP\/1\.1 20[02] /.test(said.latin1Slice(0, 13))) settle(null);
    else settle(new Error(`the server answered ${said.toString('utf8', 0, 500)}`));
  });
  socket.on('error', settle);
  socket.on('close', () => settle(new Error('the server closed the connection')));

  return {
    /** Sends a request (`postOf`); resolves when it was answered with 200 or 202, and rejects when with anything else. */
    send(request) {
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(request);
      });
    },
    close: () => socket.destroy(),
  };
}

/** Bytes of a whole answer; null while its head is not there yet. */
function lengthOf(answer) {
  const end = answer.indexOf(HEAD_END);
  if (end === -1) return null;
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer.latin1Slice(0, end));
  if (!length) throw new Error('the server answered without saying how long its answer is');
  return end + HEAD_END.length + Number(length[1]);
}
