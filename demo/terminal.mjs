// How the demo speaks: steps with their time, bars, and the picture of the two hosts. Colour only on a terminal and
// without NO_COLOR (https://no-color.org); otherwise the same text, plain. Nothing here knows about networks.

const CODES = { bold: 1, dim: 2, green: 32, yellow: 33, cyan: 36, red: 31 };
const BAR_CELLS = 32;

/** `stream`: where people read. `quiet`: say nothing (for --json). */
export function makeTerminal(stream, { quiet }) {
  const live = !quiet && stream.isTTY === true;
  const coloured = live && !process.env.NO_COLOR;
  const paint = (colour, text) => (coloured ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text);
  const line = (text = '') => {
    if (!quiet) stream.write(`${text}\n`);
  };

  return {
    paint,
    line,

    /** One step: its name at once where that can be overwritten, then what came of it and how long it took. */
    async step(title, work) {
      const started = performance.now();
      if (live) stream.write(`  ${paint('yellow', '.')} ${title} ...`);
      let outcome;
      try {
        outcome = await work((progress) => {
          if (live) stream.write(`\r\x1b[K  ${paint('yellow', '.')} ${title}  ${progress}`);
        });
      } catch (error) {
        if (live) stream.write('\r\x1b[K');
        line(`  ${paint('red', 'x')} ${title}`);
        throw error;
      }
      const milliseconds = `${Math.round(performance.now() - started)} ms`;
      if (live) stream.write('\r\x1b[K');
      const { detail, value } = outcome;
      line(`  ${paint('green', '+')} ${title.padEnd(34)} ${detail} ${paint('dim', `(${milliseconds})`)}`);
      return value;
    },

    bar(fraction) {
      const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_CELLS);
      return `[${paint('cyan', '#'.repeat(full))}${'.'.repeat(BAR_CELLS - full)}]`;
    },
  };
}

const BOX_CELLS = 34;

function box(rows) {
  const edge = `+${'-'.repeat(BOX_CELLS)}+`;
  return [edge, ...rows.map((row) => `| ${row.padEnd(BOX_CELLS - 2).slice(0, BOX_CELLS - 2)} |`), edge];
}

/** The two hosts, their addresses and the cable. `a`, `b`: { name, inner, outer, device, engine }. */
export function topology(a, b) {
  const rows = ({ name, inner, outer, device, engine }) => [
    name,
    '',
    `  ${device}  ${inner}`,
    '     |  plain packets',
    `  [ ${engine} ]  seals and opens`,
    '     |  UDP, ciphertext only',
    `  eth0  ${outer}`,
  ];
  const left = box(rows(a));
  const right = box(rows(b));
  const cable = left.length - 2;
  return left.map((text, index) => `  ${text}${index === cable ? '=====' : '     '}${right[index]}`);
}

export function formatBytes(bytes) {
  if (bytes < 1e4) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

export function formatCount(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}
