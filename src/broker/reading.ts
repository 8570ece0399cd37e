import type { ChannelModel } from 'amqplib';
import { Link, type LinkSettings } from './link.js';

/** A connection of one's own to read queues that are not Waybill's, in which anything may lie. */
export function openReading(settings: LinkSettings): Link {
  const link = new Link(settings, 'consuming', async (connection) => tolerateUnreadable(connection));
  link.start();
  return link;
}

/** What of amqplib's connection is used here. Its version is pinned, and tests fail when one of these goes. */
interface Internals {
  /** Bytes that have come and are not read yet. */
  rest: Buffer;
  /** The next frame, decoded; false when it has not come whole. Calls itself again when more has come. */
  recvFrame(): unknown;
}

/**
 * amqplib gives a connection up when it can't decode a message's properties: RabbitMQ lets types through that it does
 * not know (`L`), and tables nested so deep that reading them overflows the stack. The message would come again on the
 * next connection, for ever. Here it comes with its properties as they are on the wire, under `unreadable`.
 */
function tolerateUnreadable({ connection }: ChannelModel): void {
  const internals = connection as unknown as Internals;
  const receive = internals.recvFrame;
  internals.recvFrame = () => {
    const bytes = internals.rest;
    try {
      return receive.call(internals);
    } catch (error) {
      // The frame was whole and has been taken off, when what is left begins behind it.
      const header = internals.rest === bytes ? undefined : headerFrame(bytes);
      if (header === undefined) throw error;
      return header;
    }
  };
}

const FRAME_HEADER = 2;
const BASIC_CLASS = 60;
/** Type, channel and size before the payload, the end mark behind it. */
const BEFORE_PAYLOAD = 7;
/** Class, weight and body size before a header's flags and properties. */
const BEFORE_PROPERTIES = 12;

/** The frame with a message's properties that stands first in the bytes, as amqplib hands it on; undefined for others. */
function headerFrame(bytes: Buffer): unknown {
  if (bytes.length < BEFORE_PAYLOAD + BEFORE_PROPERTIES || bytes.readUInt8(0) !== FRAME_HEADER) return undefined;
  const payload = bytes.subarray(BEFORE_PAYLOAD, BEFORE_PAYLOAD + bytes.readUInt32BE(3));
  if (payload.length < BEFORE_PROPERTIES || payload.readUInt16BE(0) !== BASIC_CLASS) return undefined;
  // A copy: the bytes around it are those of the socket.
  const fields = { unreadable: Buffer.from(payload.subarray(BEFORE_PROPERTIES)) };
  return { id: BASIC_CLASS, channel: bytes.readUInt16BE(1), size: Number(payload.readBigUInt64BE(4)), fields };
}
