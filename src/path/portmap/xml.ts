// As much of XML as the answers of gateways need: which elements begin and end, by their local names, and the text of those that hold
// nothing else. Tolerant, because routers write it by hand; never fails, never loops, does not look outside: a DTD and its
// entities are skipped, attributes and namespaces ignored. What has too much of anything simply ends there.

/** Tags of one document, opening and closing. */
export const TAGS_MAX = 10_000;
/** Of the text of an element; longer ones are cut. */
export const TEXT_MAX = 2_048;

export interface XmlTag {
  readonly kind: 'open' | 'close';
  /** Without its prefix, as written otherwise. */
  readonly name: string;
  /** With `close`: what stood since the last tag, trimmed, references resolved. */
  readonly text: string;
}

/** The tags of `xml` in order. `<a/>` is an open and a close. */
export function* readXml(xml: string): Generator<XmlTag> {
  let at = 0;
  let text = '';
  for (let tags = 0; tags < TAGS_MAX; tags++) {
    const open = xml.indexOf('<', at);
    if (open < 0) return;
    text = (text + xml.slice(at, Math.min(open, at + TEXT_MAX))).slice(0, TEXT_MAX);
    const skipped = specialEnd(xml, open);
    if (skipped !== null) {
      if (skipped.text !== null) text = (text + skipped.text).slice(0, TEXT_MAX);
      at = skipped.end;
      continue;
    }
    const close = xml.indexOf('>', open);
    if (close < 0) return;
    at = close + 1;
    const ends = xml.charAt(open + 1) === '/';
    const name = localName(xml, ends ? open + 2 : open + 1, close);
    if (ends) {
      yield { kind: 'close', name, text: resolved(text.trim()) };
    } else {
      yield { kind: 'open', name, text: '' };
      if (xml.charAt(close - 1) === '/') yield { kind: 'close', name, text: '' };
    }
    text = '';
  }
}

/** Comments, CDATA, instructions and declarations: where they end, and the text that they are; null for a tag. */
function specialEnd(xml: string, open: number): { readonly end: number; readonly text: string | null } | null {
  const until = (mark: string, from: number): number => {
    const found = xml.indexOf(mark, from);
    return found < 0 ? xml.length : found + mark.length;
  };
  if (xml.startsWith('<!--', open)) return { end: until('-->', open + 4), text: null };
  if (xml.startsWith('<![CDATA[', open)) {
    const end = until(']]>', open + 9);
    // What stands in it is no reference: the ampersands are kept from being read as such.
    return { end, text: xml.slice(open + 9, Math.min(end - 3, open + 9 + TEXT_MAX)).replaceAll('&', '&amp;') };
  }
  if (xml.startsWith('<?', open)) return { end: until('?>', open + 2), text: null };
  if (xml.startsWith('<!', open)) {
    const bracket = xml.indexOf('[', open);
    const end = until('>', open + 2);
    // A DTD with declarations of its own inside brackets.
    return { end: bracket >= 0 && bracket < end ? until(']>', bracket) : end, text: null };
  }
  return null;
}

function localName(xml: string, from: number, close: number): string {
  let end = from;
  while (end < close && !/[\s/]/.test(xml.charAt(end))) end++;
  const name = xml.slice(from, Math.min(end, from + TEXT_MAX));
  return name.slice(name.indexOf(':') + 1);
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function resolved(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#?[0-9A-Za-z]{1,10});/g, (whole, name: string) => {
    if (!name.startsWith('#')) return NAMED[name] ?? whole;
    const code = /^#[xX]/.test(name) ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10);
    return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
