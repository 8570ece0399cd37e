import sanitize from 'sanitize-html';
import type { PartBytes } from './reader.js';

export interface SafeHtml {
  /** To be shown in a sandboxed frame all the same. */
  readonly html: string;
  /** How many things it would have fetched from elsewhere; they were taken out. */
  readonly blocked: number;
}

/**
 * HTML of a mail made safe to look at: no scripts, forms, frames or styles beyond an element's own; nothing that is
 * fetched from elsewhere; links open elsewhere and do not say from where. Pictures that came along (`cid:`) are put in
 * as data, at most `maxPictureBytes` of them together.
 */
export function makeSafe(html: string, pictures: ReadonlyMap<string, PartBytes>, maxPictureBytes: number): SafeHtml {
  const cleaner = new Cleaner(pictures, maxPictureBytes);
  const safe = sanitize(html, {
    allowedTags: TAGS,
    allowedAttributes: { '*': ATTRIBUTES, a: ['href', 'rel', 'target'], img: ['src'] },
    allowedSchemes: ['http', 'https', 'mailto', 'tel'],
    allowedSchemesByTag: { img: ['data'] },
    allowProtocolRelative: false,
    disallowedTagsMode: 'discard',
    nonTextTags: NOT_SHOWN,
    parseStyleAttributes: false,
    transformTags: {
      a: (tagName, attribs) => ({ tagName, attribs: cleaner.link(attribs) }),
      img: (tagName, attribs) => ({ tagName, attribs: cleaner.picture(attribs) }),
      '*': (tagName, attribs) => ({ tagName, attribs: cleaner.element(attribs) }),
    },
  });
  return { html: safe, blocked: cleaner.blocked };
}

/** Elements that are kept; of others the content stays. */
const TAGS = (
  'a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del details dfn div ' +
  'dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp ' +
  'section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr'
).split(' ');

/** Elements whose content is not for reading, and goes with them. */
const NOT_SHOWN = (
  'applet audio canvas embed iframe math noembed noframes noscript object option script select style svg template ' +
  'textarea title video xmp'
).split(' ');

const ATTRIBUTES = (
  'align alt bgcolor border cellpadding cellspacing color colspan dir face height lang rowspan size start style title ' +
  'type valign width'
).split(' ');

/** Attributes that name something to be fetched. */
const FETCHED = ['background', 'data', 'dynsrc', 'lowsrc', 'poster', 'srcset'] as const;

const LINK = /^(?:https?:\/\/|mailto:|tel:)/i;
const PICTURE_DATA = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*$/;
/** No SVG: it is a document of its own. */
const PICTURE_TYPES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/jpg', 'image/gif', 'image/webp']);

type Attributes = sanitize.Attributes;

class Cleaner {
  blocked = 0;

  constructor(
    private readonly pictures: ReadonlyMap<string, PartBytes>,
    private pictureBytesLeft: number,
  ) {}

  link(attributes: Attributes): Attributes {
    const { href, ...others } = attributes;
    if (href === undefined || !LINK.test(href.trim())) return others;
    return { ...others, href: href.trim(), rel: 'noopener noreferrer nofollow', target: '_blank' };
  }

  picture(attributes: Attributes): Attributes {
    const { src, ...others } = attributes;
    if (src === undefined) return others;
    const data = this.pictureData(src.trim());
    if (data === null) {
      this.blocked++;
      return others;
    }
    return { ...others, src: data };
  }

  /** What holds for every element, whichever it is. */
  element(attributes: Attributes): Attributes {
    for (const name of FETCHED) if (attributes[name] !== undefined) this.blocked++;
    const { style, ...others } = attributes;
    if (style === undefined) return others;
    if (/url\s*\(/i.test(style)) this.blocked++;
    const safe = safeStyle(style);
    return safe === '' ? others : { ...others, style: safe };
  }

  private pictureData(src: string): string | null {
    if (PICTURE_DATA.test(src)) return this.spend(src.length) ? src : null;
    if (!/^cid:/i.test(src)) return null;
    const picture = this.pictures.get(contentId(src.slice('cid:'.length)));
    if (!picture || !PICTURE_TYPES.has(picture.part.type)) return null;
    return this.spend(picture.bytes.length)
      ? `data:${picture.part.type};base64,${picture.bytes.toString('base64')}`
      : null;
  }

  /** The same picture a thousand times counts a thousand times. */
  private spend(bytes: number): boolean {
    if (bytes > this.pictureBytesLeft) return false;
    this.pictureBytesLeft -= bytes;
    return true;
  }
}

function contentId(written: string): string {
  try {
    return decodeURIComponent(written);
  } catch {
    return written;
  }
}

/** Properties that change how text looks and nothing beyond its box. */
const PROPERTIES: ReadonlySet<string> = new Set(
  (
    'background-color border border-bottom border-bottom-color border-bottom-style border-bottom-width border-collapse ' +
    'border-color border-left border-left-color border-left-style border-left-width border-radius border-right ' +
    'border-right-color border-right-style border-right-width border-spacing border-style border-top border-top-color ' +
    'border-top-style border-top-width border-width color direction display font-family font-size font-style ' +
    'font-variant font-weight height letter-spacing line-height list-style-type margin margin-bottom margin-left ' +
    'margin-right margin-top max-width min-width padding padding-bottom padding-left padding-right padding-top ' +
    'table-layout text-align text-decoration text-indent text-transform vertical-align white-space width word-break ' +
    'word-spacing word-wrap'
  ).split(' '),
);
const MAX_DECLARATIONS = 50;
const MAX_VALUE = 200;
/** No functions but colours, no escapes, no comments. */
const PLAIN_VALUE = /^(?:(?:rgb|hsl)a?\([\d.,%\s/]*\)|[a-z\d#%.,\s'"!+-])*$/i;

function safeStyle(style: string): string {
  const kept: string[] = [];
  for (const declaration of style.split(';', MAX_DECLARATIONS)) {
    const colon = declaration.indexOf(':');
    const property = declaration.slice(0, colon).trim().toLowerCase();
    const value = declaration.slice(colon + 1).trim();
    if (PROPERTIES.has(property) && value.length <= MAX_VALUE && PLAIN_VALUE.test(value)) {
      kept.push(`${property}:${value}`);
    }
  }
  return kept.join(';');
}
