import { once } from 'node:events';
import { createConnection } from 'node:net';

const END = Buffer.from('\r\n.\r\n');
const STUFFED = /(^|\r\n)\./g;

/**
 * One connection of a sending mail server, mail after mail, with no more work than the protocol asks for (RFC 5321; commands
 * together where the server offers that, RFC 2920). The load generator is no part of what is measured.
 */
export async function connectSmtp(port) {
  const socket = createConnection({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  const replies = repliesOf(socket);
  expect(await replies.next(), 220);
  socket.write('EHLO bench.example.org\r\n');
  const greeting = expect(await replies.next(), 250);
  const pipelines = /^250[- ]PIPELINING\r?$/im.test(greeting);

  async function command(line, code) {
    socket.write(line);
    expect(await replies.next(), code);
  }

  return {
    /** Sends `data` (`dataOf`); resolves when the server has taken it. */
    async send({ from, to, data }) {
      const commands = [
        [`MAIL FROM:<${from}>\r\n`, 250],
        [`RCPT TO:<${to}>\r\n`, 250],
        ['DATA\r\n', 354],
      ];
      if (pipelines) {
        socket.write(commands.map(([line]) => line).join(''));
        for (const [, code] of commands) expect(await replies.next(), code);
      } else {
        for (const [line, code] of commands) await command(line, code);
      }
      socket.write(data);
      return expect(await replies.next(), 250);
    },
    async close() {
      await command('QUIT\r\n', 221);
      socket.destroy();
    },
  };
}

/** A mail's bytes as they follow DATA: a dot before each that begins a line, and the dot that ends them. */
export function dataOf(raw) {
  const mail = Buffer.isBuffer(raw) ? raw : Buffer.from(raw);
  const needsDots = mail[0] === 0x2e || mail.includes('\r\n.');
  const stuffed = needsDots ? Buffer.from(mail.toString('latin1').replace(STUFFED, '$1..'), 'latin1') : mail;
  return Buffer.concat([stuffed, stuffed.subarray(-2).equals(END.subarray(0, 2)) ? END.subarray(2) : END]);
}

/** The replies of a server, one after the other; rejects when the connection ends. */
function repliesOf(socket) {
  const waiting = [];
  const whole = [];
  let text = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk) => {
    text += chunk;
    // The last line of a reply has a blank after its code.
    for (let end = endOfReply(text); end > 0; end = endOfReply(text)) {
      const reply = text.slice(0, end);
      text = text.slice(end);
      const next = waiting.shift();
      if (next) next.resolve(reply);
      else whole.push(reply);
    }
  });
  const ended = (error) => {
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  socket.on('error', ended);
  socket.on('close', () => ended(new Error('the server closed the connection')));
  return {
    next() {
      const reply = whole.shift();
      if (reply !== undefined) return Promise.resolve(reply);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
  };
}

/** Length of the first whole reply, 0 where there is none yet. */
function endOfReply(text) {
  const last = /^\d{3}(?: [^\r\n]*)?\r\n/m.exec(text);
  return last ? last.index + last[0].length : 0;
}

function expect(reply, code) {
  if (!reply.startsWith(String(code))) throw new Error(`the server said ${reply.trim()}, not ${code}`);
  return reply;
}
