// A module that a program of Node.js imports before its own: a connection to another machine is an error.

import { isIP, Socket } from "node:net";

const connect = Socket.prototype.connect;
Socket.prototype.connect = function (...args) {
  const [options] = Array.isArray(args[0]) ? args[0] : args;
  const host = typeof options === "object" ? options.host : args[1];
  const local = host === undefined || host === "localhost" || (isIP(host) && /^(127\.|::1$)/.test(host));
  if (!local) throw new Error(`a test connects to ${host}`);
  return connect.apply(this, args);
};
