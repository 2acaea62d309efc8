#!/usr/bin/perl

# The configuration language: what is refused, with which words and at which
# line; what is accepted; and that "nginx -t" starts nothing and writes nothing
# of ours.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Find;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Solo;

my $solo = Tailnet::Solo->new(env => { EMPTY_KEY => '', GOOD_KEY => 'k1',
                                       BAD_KEY => 'a b' });

plan skip_all => 'the module is not built' unless -e $solo->module;

my ($dir, $paths) = ($solo->dir, Tailnet::Solo::http_paths());
my $conf = "$dir/conf/nginx.conf";

$solo->write('conf/good.key', "tskey-auth-1\n");
$solo->write('conf/empty.key', "\n \n");
$solo->write('conf/two.key', "one two\n");
$solo->write('conf/long.key', 'x' x 5000);
$solo->write('conf/not.pem', "no certificate\n");

system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
       . "-nodes -subj /CN=test -days 1 -keyout $dir/conf/ca.key "
       . "-out $dir/conf/ca.pem 2>/dev/null") == 0 or die 'openssl';

my $key = 'literal-secret-key';


# The text of a configuration, whose first line is line 2 of the file.

sub node { return "events { }\ntailnet {\n    $_[0]\n}\n" }

sub http {
    my ($text, $blocks) = @_;
    $blocks //= "tailnet home { }";
    return "events { }\n$blocks\nhttp { $paths\n    $text\n}\n";
}

sub server { return http("server { $_[0] }", $_[1]) }

sub upstream {
    return http("upstream u { $_[0] } server { listen 127.0.0.1:1; }", $_[1]);
}


# One case for each value, which stands for %s.

sub each_of {
    my ($name, $text, $message, $line, @values) = @_;

    return map { my $value = $_;
                 ["$name: $value", (map { s/%s/$value/gr } $text, $message),
                  $line] } @values;
}

# Directives that may stand once only, each twice with these arguments.

sub once {
    my (%arguments) = @_;

    return map { ["$_: twice", node("$_ $arguments{$_};\n $_ "
                                    . "$arguments{$_};"),
                  "\"$_\" directive is duplicate", 5] } sort keys %arguments;
}


my $pair = '"ssl_certificate $tailnet_certificate" and '
    . '"ssl_certificate_key $tailnet_certificate_key" have to be a pair, '
    . 'and the only one of the server';

# Refused: name, configuration, the message, line

my @bad = (
    # the block

    ['bad name', "tailnet a/b { }\nevents { }\n",
     'invalid name "a/b" of "tailnet", letters, digits, "_" and "-" expected',
     2],
    ['long name', 'tailnet ' . 'a' x 64 . " { }\nevents { }\n",
     'invalid name "' . 'a' x 64 . '" of "tailnet", letters, digits, "_" and '
     . '"-" expected', 2],
    ['too many', join('', map { "tailnet n$_ { }\n" } 1 .. 65),
     'more than 64 "tailnet" blocks', 66],
    ['two names', "tailnet a b { }\nevents { }\n",
     'invalid number of arguments in "tailnet" directive', 2],
    ['duplicate', "tailnet a { }\ntailnet a { }\n", 'duplicate tailnet "a"',
     3],
    ['duplicate default', "tailnet { }\ntailnet default { }\n",
     'duplicate tailnet "default"', 3],
    ['inside of http', "events { }\nhttp { tailnet { } }\n",
     '"tailnet" directive is not allowed here', 3],
    ['after its use', "events { }\ntailnet a { }\nhttp { $paths\n"
     . "server { listen 80 tailnet; } }\ntailnet b { }\n",
     '"tailnet" directive must stand before the listeners and servers that '
     . 'use it', 6],
    ['unknown directive', node('colour red;'), 'unknown directive "colour"',
     4],
    ['a directive of elsewhere', node('worker_processes 1;'),
     '"worker_processes" directive is not allowed here', 4],
    ['ours outside of the block', "hostname web;\n",
     '"hostname" directive is not allowed here', 2],
    ['not closed', "events { }\ntailnet {\n",
     'unexpected end of file, expecting "}"', 4],

    # proxy: what is wrong is told without the URL, which holds a password

    ['proxy: scheme', node('proxy socks5://u:secret@h:1;'),
     'invalid URL in "proxy": only proxies of the scheme "http" are supported',
     4],
    each_of('proxy', node('proxy %s;'), 'invalid URL in "proxy": '
            . '"http://[user:password@]host[:port]" expected', 4,
            'h:1', 'http://u:secret@h:0'),
    ['proxy: percent', node('proxy http://u:%0x@h:1;'),
     'invalid URL in "proxy": its user and password are too long, or hold a '
     . 'wrong %xx', 4],
    ['proxy: too long', node('proxy http://' . 'h' x 600 . ';'),
     'invalid URL in "proxy": too long', 4],

    # certificates

    ['acme_directory: http', node('acme_directory http://ca.test/dir;'),
     'invalid "acme_directory" "http://ca.test/dir", "https://..." or '
     . '"staging" expected', 4],
    ['tailnet_certificate_fallback: a word',
     http('tailnet_certificate_fallback please;'),
     'invalid value "please"', 5],
    ['certificate: without its key', server('listen 443 ssl tailnet;
     ssl_certificate $tailnet_certificate; ssl_certificate_key $host;'),
     $pair, 5],
    ['certificate: with another', server('listen 443 ssl tailnet;
     ssl_certificate $tailnet_certificate; ssl_certificate ca.pem;
     ssl_certificate_key $tailnet_certificate_key; ssl_certificate_key k;'),
     $pair, 5],
    ['certificate: a part of a value', server('listen 443 ssl tailnet;
     ssl_certificate /tmp/$tailnet_certificate;
     ssl_certificate_key $tailnet_certificate_key;'), $pair, 5],
    ['certificate: no tailnet', server('listen 127.0.0.1:443 ssl;
     ssl_certificate $tailnet_certificate;
     ssl_certificate_key $tailnet_certificate_key;', ''),
     '"ssl_certificate" with $tailnet_certificate needs a "tailnet" block, '
     . 'used by the server', 5],

    # funnel

    each_of('funnel_domains', node('funnel_domains www.example.com %s;'),
            'invalid name "%s" in "funnel_domains", "www.example.com" '
            . 'expected', 4, 'a_b', 'a..example', '*.example.com'),
    ['funnel_domains: too many', node('funnel_domains '
                                      . 'a.example.com ' x 74 . ';'),
     '"funnel_domains" directive is too long', 4],
    ['funnel: another word', server('listen 443 tailnet funnel=yes;'),
     'invalid parameter "funnel=yes" of "listen", "funnel" or "funnel=only" '
     . 'expected', 5],
    ['funnel: twice', server('listen 443 tailnet funnel funnel=only;'),
     'duplicate parameter "funnel=only" of "listen"', 5],
    each_of('service', server('listen 443 tailnet %s;'), 'invalid "%s" of '
            . '"listen", "service=svc:" and a name of lower-case letters, '
            . 'digits and hyphens expected', 5, 'service=web',
            'service=svc:a.b'),
    ['service: twice',
     server('listen 443 tailnet service=svc:a service=svc:b;'),
     'duplicate parameter "service=svc:b" of "listen"', 5],
    ['service: funnel', server('listen 443 tailnet funnel service=svc:a;'),
     'parameter "service=svc:a" of "listen" does not go with "capture" and '
     . '"funnel"', 5],
    ['service: quic with lwip',
     server('listen 443 quic tailnet service=svc:a;',
            'tailnet { stack lwip; }'),
     'parameter "quic" of "listen" with "service=svc:a" needs the kernel\'s '
     . 'stack, and tailnet "default" has "stack lwip"', 5],
    ['capture: nothing is advertised', server('listen any tailnet capture;'),
     '"capture" of "listen any" without "advertise_routes" or '
     . '"advertise_exit_node" in tailnet "home"', 5],
    ['capture: any without it', server('listen any tailnet;'),
     '"listen any" needs the parameter "capture"', 5],
    ['capture: any quic', server('listen any quic tailnet capture;',
                                 'tailnet { advertise_exit_node on; }'),
     '"listen any" has no QUIC, that needs a port', 5],
    ['capture: probe of UDP', server('listen 53 udp tailnet capture=probe;',
                                     'tailnet { advertise_exit_node on; }'),
     '"capture=probe" of "listen 53" is for TCP only', 5],
    ['funnel: without tailnet', server('listen 127.0.0.1:443 funnel;'),
     'invalid parameter "funnel"', 5],

    # control_url

    each_of('control_url', node('control_url %s;'), 'invalid "control_url" '
            . '"%s", "https://host[:port]" expected', 4, 'ftp://example.com',
            'https://', 'https:///', 'https://a:70000', 'https://a/b',
            'https://me@a', 'http://[fd7a::g]:80'),
    ['control_url: nothing', node('control_url;'),
     'invalid number of arguments in "control_url" directive', 4],

    # auth_key

    ['auth_key: no file', node('auth_key file:none.key;'),
     "cannot open \"auth_key\" file \"$dir/conf/none.key\" "
     . '(2: No such file or directory)', 4],
    ['auth_key: a directory', node('auth_key file:%%DIR%%/conf;'),
     "cannot read \"auth_key\" file \"$dir/conf\" (21: Is a directory)", 4],
    each_of('auth_key', node('auth_key file:%s;'), 'there is no key in '
            . "\"auth_key\" file \"$dir/conf/%s\"", 4,
            'empty.key', 'two.key', 'long.key'),
    ['auth_key: empty path', node('auth_key file:;'),
     '"auth_key" directive has an empty path', 4],
    ['auth_key: empty variable name', node('auth_key env:;'),
     '"auth_key" directive has an empty name', 4],
    ['auth_key: variable', node('auth_key env:BAD_KEY;'),
     'there is no key in environment variable "BAD_KEY" of "auth_key"', 4],
    ['auth_key: another parameter', node("auth_key '$key' id=1;"),
     '"auth_key" directive has an invalid parameter: only "client_id=ID" '
     . 'is one', 4],
    ['auth_key: no client ID', node("auth_key '$key' client_id=;"),
     '"auth_key" directive has no ID in "client_id"', 4],
    ['auth_key: a long token', node("auth_key '" . 'x' x 4090
                                    . "' client_id=kId1;"),
     '"auth_key" directive is too long', 4],
    each_of('auth_key', node("auth_key '%s';"), '"auth_key" directive is not '
            . 'a key, "file:PATH" or "env:NAME"', 4, "$key 2", '',
            '/etc/nginx/ts.key'),

    # hostname

    each_of('hostname', node("hostname '%s';"), 'invalid "hostname" "%s", '
            . 'one DNS label expected', 4,
            'web.example.com', 'web-', 'a' x 64, ''),

    # state

    ['state: two blocks', "tailnet a { state st; }\n"
     . "tailnet b {\n    state %%DIR%%/st/;\n}\n",
     "\"state\" directory \"$dir/st\" of tailnet \"b\" is that of tailnet "
     . '"a" already', 4],
    ['state: of a default', "tailnet a { }\n"
     . "tailnet b {\n    state /var/lib/nginx/tailnet/a;\n}\n",
     '"state" directory "/var/lib/nginx/tailnet/a" of tailnet "b" is that of '
     . 'tailnet "a" already', 4],
    ['state: root', node('state /;'), 'invalid "state" directory "/"', 4],
    ['state: empty', node("state '';"),
     '"state" directive has an empty path', 4],
    ['state: long', node('state /' . 'a' x 2000 . ';'),
     '"state" directive has too long a path', 4],

    # the rest

    each_of('tags', node('tags tag:web %s;'), 'invalid tag "%s" in "tags", '
            . '"tag:name" expected', 4, 'web', 'tag:1st', 'tag:'),
    (map { each_of($_, node("$_ %s;"), "invalid value \"%s\" in \"$_\" "
                   . 'directive, it must be "on" or "off"', 4, 'yes', '1') }
     qw(ephemeral shields_up accept_routes port_mapping)),
    each_of('port', node('port %s;'), 'invalid "port" "%s", 0 to 65535 '
            . 'expected', 4, 'any', '65536'),
    each_of('peer_relay_port', node('peer_relay_port %s;'), 'invalid '
            . '"peer_relay_port" "%s", 1 to 65535 expected', 4, '0', '65536'),
    each_of('static_endpoints', node('static_endpoints 192.0.2.1:1 %s;'),
            'invalid address "%s" in "static_endpoints", "ip:port" of this '
            . 'machine or its router expected', 4,
            '192.0.2.1', '100.64.0.1:41641'),
    ['static_endpoints: too many',
     node('static_endpoints' . ' [2001:db8::1]:1' x 9 . ';'),
     'more than 8 addresses in "static_endpoints"', 4],
    ['advertise_routes: host bits', node('advertise_routes 10.0.0.1/8;'),
     'invalid route "10.0.0.1/8" in "advertise_routes", a prefix without '
     . 'host bits like "10.0.0.0/8" expected', 4],
    ['advertise_routes: all', node('advertise_routes 10.0.0.0/8 0.0.0.0/0;'),
     'route "0.0.0.0/0" is that of an exit node: "advertise_exit_node on"', 4],
    each_of('advertise_routes', node('advertise_routes %s;'),
            'route "%s" in "advertise_routes" cannot be behind a node', 4,
            '100.64.0.0/16',                    # of a tailnet
            'fd00::/8',                         # around a tailnet
            'fd7a:115c:a1e0:b1a::/64',          # all sites
            '127.0.0.0/8'),
    ['advertise_routes: twice the same',
     node('advertise_routes 10.0.0.0/8 fd01::/16 10.0.0.0/8;'),
     'duplicate route "10.0.0.0/8" in "advertise_routes"', 4],
    ['advertise_routes: too many', node('advertise_routes '
     . join(' ', map { "10.$_.0.0/16" } 1 .. 63) . ';'),
     'more than 62 routes in "advertise_routes"', 4],
    ['exit_node: no name', node('exit_node a/b;'),
     'invalid "exit_node" "a/b", the name or an address of a peer expected',
     4],
    ['stack: unknown', node('stack bsd;'),
     'invalid "stack" "bsd", "auto", "kernel" or "lwip" '
     . 'expected', 4],
    ['tls_trusted_certificate: no file', node('tls_trusted_certificate x.pem;'),
     "cannot open \"tls_trusted_certificate\" \"$dir/conf/x.pem\" "
     . '(2: No such file or directory)', 4],
    ['tls_trusted_certificate: not PEM',
     node('tls_trusted_certificate not.pem;'),
     'there is no PEM certificate in "tls_trusted_certificate" '
     . "\"$dir/conf/not.pem\"", 4],
    once(proxy => 'off', acme_directory => 'staging', auth_key => $key,
         funnel_domains => 'a.test', control_url => 'http://a',
         peer_relay_port => '7777'),
    ['tailnet_core: twice', "tailnet_core a;\ntailnet_core b;\n",
     '"tailnet_core" directive is duplicate', 3],

    # listen

    ['listen: no block', server('listen 80 tailnet;', ''),
     'there is no "tailnet" block before "listen" with parameter "tailnet"',
     5],
    ['listen: unknown node', server('listen 80 tailnet=away;'),
     'unknown tailnet "away" in "listen"', 5],
    ['listen: empty node', server('listen 80 tailnet=;'),
     'unknown tailnet "" in "listen"', 5],
    ['listen: which node', server('listen 80 tailnet;',
                                  'tailnet a { } tailnet b { }'),
     '"listen" with parameter "tailnet" needs a name: there are several '
     . '"tailnet" blocks and none is the default one', 5],
    each_of('listen', server('listen %s tailnet;'), 'invalid "%s" of "listen" '
            . 'with "tailnet", a port, "*:port", "0.0.0.0:port" or '
            . '"[::]:port" expected', 5, '100.64.0.1:80', '0', '*:65536',
            'unix:/tmp/x'),
    each_of('listen', server('listen %s tailnet funnel;'), 'too many ports in '
            . '"%s" of "listen" with "tailnet", a node has up to 4096 '
            . 'listening sockets', 5, '1-65535', '[::]:1-2049'),
    ['listen: twice the parameter',
     server('listen 80 tailnet=home tailnet=home;'),
     'duplicate parameter "tailnet=home" of "listen"', 5],
    ['listen: multipath', server('listen 443 multipath tailnet;'),
     'parameter "multipath" of "listen" is not supported with "tailnet"', 5],
    ['listen: a stock check', server('listen 80 tailnet nosuch;'),
     'invalid parameter "nosuch"', 5],
    ['listen: twice', server('listen 80 tailnet; listen 80 tailnet=home;'),
     'a duplicate listen unix:tailnet/home/0.0.0.0:80', 5],
    ['listen: twice IPv6', server('listen 80 tailnet; listen [::]:80 tailnet;'),
     'a duplicate listen unix:tailnet/home/[::]:80', 5],
    ['listen: two defaults',
     http('server { listen 80 tailnet default_server; } '
          . 'server { listen 80 tailnet default_server; }'),
     'a duplicate default server for unix:tailnet/home/0.0.0.0:80', 5],

    # identity

    (map { my $d = $_; (
        ["$d: nothing", server("$d;"),
         "invalid number of arguments in \"$d\" directive", 5],
        ["$d: a word", server("$d user:a everybody;"),
         "invalid parameter \"everybody\" of \"$d\", \"user:\", \"tag:\", "
         . '"node:" or "cap:" with a value, "all" or "funnel" expected', 5],
        ["$d: no value", server("$d tag:;"),
         "invalid parameter \"tag:\" of \"$d\", \"user:\", \"tag:\", "
         . '"node:" or "cap:" with a value, "all" or "funnel" expected', 5],
        ["$d: no expression", server("$d user:~*;"),
         "empty regular expression in \"$d\"", 5],
    ) } qw(tailnet_allow tailnet_deny)),
    ['tailnet_allow: in main', "tailnet_allow all;\n",
     '"tailnet_allow" directive is not allowed here', 2],
    ['tailnet_headers: a word', server('tailnet_headers yes;'),
     'invalid value "yes" in "tailnet_headers" directive, it must be "on" or '
     . '"off"', 5],
    ['tailnet_headers: twice',
     server('tailnet_headers on; tailnet_headers on;'),
     '"tailnet_headers" directive is duplicate', 5],
    ['tailnet_headers: in a location',
     server('location / { tailnet_headers on; }'),
     '"tailnet_headers" directive is not allowed here', 5],
    ['tailnet_capability: no variable', http('tailnet_capability x a/b;'),
     'invalid variable name "x"', 5],
    ['tailnet_capability: no name', http('tailnet_capability $x "";'),
     'empty capability in "tailnet_capability"', 5],
    ['tailnet_capability: a variable of nginx',
     http('tailnet_capability $host a/b;'), 'the duplicate "host" variable',
     5],

    ['tailnet_status: an argument',
     server('location / { tailnet_status on; }'),
     'invalid number of arguments in "tailnet_status" directive', 5],
    ['tailnet_status: in a server', server('tailnet_status;'),
     '"tailnet_status" directive is not allowed here', 5],
    ['tailnet_status: no block',
     server('location / { tailnet_status; }', ''),
     'there is no "tailnet" block before "tailnet_status"', 5],

    # server

    ['server: no block', upstream('server web tailnet;', ''),
     'there is no "tailnet" block before "server" with parameter "tailnet"',
     5],
    ['server: unknown node', upstream('server web tailnet=away;'),
     'unknown tailnet "away" in "server"', 5],
    ['server: resolve', upstream('server web tailnet resolve;'),
     'parameter "resolve" of "server" is not supported with "tailnet"', 5],
    ['server: service', upstream('server web tailnet service=http;'),
     'parameter "service=http" of "server" is not supported with "tailnet"',
     5],
    each_of('server', upstream('server %s tailnet;'), 'invalid port in "%s" '
            . 'of "server" with "tailnet"', 5, 'web:0', 'web:', 'fd7a::1',
            'tag:a:x'),
    each_of('server', upstream('server %s tailnet;'), 'invalid host in "%s" '
            . 'of "server" with "tailnet"', 5, ':80', '[fd7a::g]:80',
            'we/b:80', 'tag::80', 'tag:a/b:80'),
    ['server: long', upstream('server ' . 'a' x 200 . ':80 tailnet;'),
     'too long host in "' . 'a' x 200 . ':80" of "server" with "tailnet"', 5],
    ['server: a stock check', upstream('server web tailnet weight=0;'),
     'invalid parameter "weight=0"', 5],
);

for my $case (@bad) {
    my ($name, $text, $message, $line) = @$case;

    $solo->configure($text);

    my ($status, $out) = $solo->run('-t');
    my @emerg = map { s/^nginx: //r } grep { /\[emerg\]/ } split /\n/, $out;

    is($emerg[0], "[emerg] $message in $conf:$line", $name);
    is(scalar @emerg, 1, "$name: one line") or diag($out);
    is($status, 1, "$name: refused");
    unlike($out . $solo->error_log, qr/\Q$key\E/, "$name: no key");
}


# Accepted: name, configuration, and what is to be warned of, if anything

my $everything = <<'BLOCK';
events { }
tailnet home {
    control_url             https://control.example.com:8443/;
    auth_key                file:good.key;
    hostname                web-1;
    state                   state/home;
    tags                    tag:web tag:db-2;
    ephemeral               on;
    shields_up              off;
    port                    41641;
    stack                   kernel;
    accept_routes           on;
    tls_trusted_certificate ca.pem;
    acme_directory          https://ca.example.com/dir;
    funnel_domains          www.Example.com example.com;
}
tailnet { control_url http://[::1]:8080; auth_key env:GOOD_KEY; stack auto; }
BLOCK

my @good = (
    ['no block', "events { }\n"],
    ['an empty block', "events { }\ntailnet { }\n"],
    ['every directive', $everything],
    ['a literal key', node("auth_key $key;")],
    ['an identity token', node('auth_key file:good.key '
                               . 'client_id=kId1?preauthorized=true;')],
    ['an unset variable', node('auth_key env:NO_SUCH_KEY;'),
     'environment variable "NO_SUCH_KEY" of "auth_key" is not set in '
     . "$conf:4"],
    ['an empty variable', node('auth_key env:EMPTY_KEY;'),
     'environment variable "EMPTY_KEY" of "auth_key" is not set in '
     . "$conf:4"],
    ['IPv4 control', node('control_url http://192.0.2.1:8080;')],
    ['a proxy with a password', node('proxy http://u:p%40ss@proxy:3128/;')],
    ['a proxy of IPv6', node('proxy http://[fd00::1];')],
    ['no proxy', node('proxy off;')],

    ['listen', http(<<'SERVERS')],
server { listen 80 tailnet; listen 8443 tailnet=home; server_name a; }
    server { listen 80 tailnet=home; server_name b; }
    server { listen *:81 tailnet; listen 0.0.0.0:82 tailnet;
             listen [::]:82 tailnet ipv6only=on; }
    server { listen [::]:83 tailnet ipv6only=off; }
    server { listen 127.0.0.1:1; listen 127.0.0.2:80; }
SERVERS
    ['funnel', http(<<'SERVERS')],
server { listen 443 tailnet funnel default_server; server_name a; }
    server { listen 443 funnel tailnet=home; server_name b; }
    server { listen 0.0.0.0:444 tailnet funnel=only reuseport backlog=10; }
SERVERS
    ['parameters of listen', server(
        'listen 80 default_server backlog=100 rcvbuf=64k sndbuf=64k deferred '
        . 'fastopen=5 reuseport so_keepalive=30m::10 tailnet proxy_protocol;')],
    ['default among several', server('listen 80 tailnet; listen 80 tailnet=a;',
                                     'tailnet a { } tailnet { }')],

    ['certificates', http(<<'SERVERS')],
tailnet_certificate_fallback self_signed;
    ssl_certificate $tailnet_certificate;
    ssl_certificate_key ${tailnet_certificate_key};
    server { listen 443 ssl tailnet; }
    server { listen 127.0.0.1:443 ssl; tailnet_certificate_fallback off; }
    server { listen 127.0.0.1:444 ssl; ssl_certificate ca.pem;
             ssl_certificate_key ca.key; }
SERVERS

    ['upstream', upstream(<<'SERVERS')],
server web-1 tailnet;
        server web-2:8080 tailnet=home weight=2 max_fails=3 fail_timeout=5s;
        server 100.64.0.1:80 tailnet max_conns=10;
        server [fd7a:115c:a1e0::1]:80 tailnet backup;
        server web.example.ts.net:80 tailnet down;
        server 127.0.0.1:81;
        zone u 64k;
        keepalive 8;
SERVERS
    ['hash', upstream('server web-1:80 tailnet; hash $uri consistent;')],
    ['least_conn', upstream('least_conn; server a tailnet; server b tailnet;')],
    ['ip_hash', upstream('ip_hash; server a tailnet; server b tailnet;')],
    ['random', upstream('random two; server a tailnet; server b tailnet;')],
);

for my $case (@good) {
    my ($name, $text, $warning) = @$case;

    $solo->configure($text);

    my ($status, $out) = $solo->run('-t');
    my ($warn) = $out =~ /\[warn\] (.*)/;

    is($status, 0, $name) or diag($out);
    like($out, qr/syntax is ok\n.*test is successful\n\z/s, "$name: says so");
    is($warn, $warning, "$name: warnings");
}


# A balancer of others has servers of a kind that we do not know.

SKIP: {
    my $tree = dirname($solo->module) . '/nginx';

    skip 'no headers to build a module with', 2
        if $ENV{TEST_NGINX_STATIC} || $ENV{TEST_NGINX_BINARY}
            || !-e "$tree/objs/ngx_auto_config.h";

    is($solo->compile("$FindBin::Bin/lab/module/ngx_http_foreign_module.c",
                      "$dir/foreign.so"), 0,
       'a balancer of its own kind is built');

    $solo->configure("load_module $dir/foreign.so;\n" . upstream(
        'foreign; server web-1 tailnet; server tag:web tailnet;'));

    my ($status, $out) = $solo->run('-t');

    like($out, qr/test is successful\n\z/, 'and its servers are left alone');
}


# What "-t" leaves behind is what it does without a word of ours, too.

sub tree {
    my %found;

    find(sub { $found{$File::Find::name} = 1 if !/\.conf$/ }, $dir);
    delete $found{$dir};

    return sort keys %found;
}

$solo->configure(<<"CONF");
events { }
tailnet home { state state/home; auth_key file:good.key; }
http { $paths
    upstream u { server web-1 tailnet; zone u 64k; }
    server { listen 80 tailnet; listen 81 reuseport tailnet; }
}
CONF

my @before = tree();
my ($status, $out) = $solo->run('-t');
my %before = map { $_ => 1 } @before;
my @new = grep { !$before{$_} && $_ !~ m{/tmp/} } tree();

is($status, 0, '-t') or diag($out);
is("@new", '', '-t writes nothing');
is(join(' ', $solo->processes), '', '-t starts nothing');

($status, $out) = $solo->run('-T');
is($status, 0, '-T');
is(join(' ', $solo->processes), '', '-T starts nothing');

done_testing();
