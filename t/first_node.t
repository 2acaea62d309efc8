#!/usr/bin/perl

# nginx is a node of a tailnet run by headscale, and exchanges HTTP with a real
# tailscaled both ways: its own listener, and proxying to the peer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};
my ($peer4, $peer6) = ($peer->ip4, $peer->ip6);

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => "worker_processes 1;\n"
            . $nginx->tailnet_block($tailnet->{control},
                                    $tailnet->{auth_key}),
    http => <<"HTTP");
    upstream short   { server peer:80 tailnet=home; keepalive 4; }
    upstream full    { server peer.lab.test:80 tailnet=home; }
    upstream ip4     { server $peer4:80 tailnet=home; }
    upstream ip6     { server [$peer6]:80 tailnet=home; }
    upstream nobody  { server nobody:80 tailnet=home; }
    upstream closed  { server peer:81 tailnet=home; }
    upstream another { server peer:81 tailnet=home max_fails=0;
                       server peer:80 tailnet=home backup; }

    proxy_http_version    1.1;
    proxy_set_header      Connection "";
    proxy_connect_timeout 5s;

    server {
        listen 80 tailnet=home;

        location = /addr {
            return 200 "\$remote_addr \$server_addr \$server_port\\n";
        }
    }

    # The same nginx goes on serving the host's own network.
    server {
        listen 8000;

        location /short/   { proxy_pass http://short/; }
        location /full/    { proxy_pass http://full/; }
        location /ip4/     { proxy_pass http://ip4/; }
        location /ip6/     { proxy_pass http://ip6/; }
        location /nobody/  { proxy_pass http://nobody/; }
        location /closed/  { proxy_pass http://closed/; }
        location /another/ { proxy_pass http://another/; }
    }
HTTP

my $size = 50 * 1024 * 1024;
my $big = $nginx->prefix . '/html/big';

$nginx->write('html/index.html', "Hello from nginx.\n");
$lab->run('dd', 'if=/dev/urandom', "of=$big", 'bs=1M', 'count=50',
          'status=none');
$lab->run('cp', $big, $tailnet->{peer_web}->prefix . '/html/big');

$nginx->start;

is($infra->get('http://' . $web->ip4 . ':8000/')->{status}, 200,
   'the host listener serves at once');

# The node comes up.

my $self = eval { $peer->wait_peer('web', 20) };

ok($self, 'the peer sees the node')
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
like($nginx->error_log, qr/tailnet core \S+ started, \Q$ENV{TAILNET_AEAD}\E\b/mi,
     'its ciphers are those asked for')
    if $ENV{TAILNET_AEAD};

my ($web4) = grep { !/:/ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

is($peer->wait_get('http://web.lab.test/', seconds => 20)->{status}, 200,
   'the first page came') or diag($nginx->error_log);

# Peer to nginx.

for (['full name', 'web.lab.test'], ['short name', 'web'],
     ['IPv4 address', $web4], ['IPv6 address', "[$web6]"])
{
    my ($by, $host) = @$_;
    my $r = $peer->get("http://$host/");

    is($r->{body}, "Hello from nginx.\n", "GET by $by")
        or diag($r->{error});
}

is($peer->get("http://$web4/addr")->{body}, "$peer4 $web4 80\n",
   '$remote_addr is the peer, $server_addr the node (IPv4)');
is($peer->get("http://[$web6]/addr")->{body}, "$peer6 $web6 80\n",
   '$remote_addr is the peer, $server_addr the node (IPv6)');

my $connects = $peer->host->run('curl', '-s', '-w', '%{num_connects} ',
    '-o', '/dev/null', '-o', '/dev/null', 'http://web/', 'http://web/addr');

is($connects, '1 0 ', 'keepalive of the peer\'s connection');

my $copy = $lab->path('copy');
my $r = $peer->get('http://web/big', out => $copy, timeout => 60);

is($r->{size}, $size, 'a 50 MB download is complete') or diag($r->{error});
is(system('cmp', '-s', $big, $copy), 0, 'and byte-exact');
note(sprintf('download: %.2f s', $r->{time} // 0));

like($peer->wait_path('web', qr/direct/, 10)->{path}, qr/direct/,
     'the path is direct');

# The same with a second thread that seals and sends, which also comes and goes
# in the middle of a download, as does the socket.

sub tool {
    my ($status, $output) = Tailnet::Lab::capture(
        Tailnet::Lab->build('ngx_tailnet_core'), @_, '--run',
        $nginx->run_dir);

    return $status == 0 || diag("@_: $output") && 0;
}

sub helpers {
    return scalar grep { (eval { $lab->read_file($_) } // '') =~ /^tx-home/ }
        map { glob "/proc/$_/task/*/comm" } $web->pids;
}

# on a slow machine the download may have had one, which goes when it rests

ok(tool('helper', 'never'), 'no second thread');
ok(eval { $lab->wait_for(15, 'its end', sub { helpers() == 0 }) },
   'there is none');
ok(tool('helper', 'always'), 'now there is to be one');
is($peer->get('http://web/')->{body}, "Hello from nginx.\n", 'a page by it');
ok(eval { $lab->wait_for(5, 'the thread', sub { helpers() == 1 }) },
   'it is there');

$r = $peer->get('http://web/big', out => $copy, timeout => 60);
is($r->{size}, $size, 'a download by it is complete') or diag($r->{error});
is(system('cmp', '-s', $big, $copy), 0, 'and byte-exact');

my $download = $peer->host->start('download',
    ['curl', '-sS', '--limit-rate', '40M', '-o', $copy, 'http://web/big']);

ok(tool(@$_), "@$_ meanwhile")
    for ['helper', 'never'], ['helper', 'always'], ['rebind'],
        ['helper', 'never'], ['helper', 'busy'];

is($download->reap(120), 0, 'it ends well');
is(system('cmp', '-s', $big, $copy), 0, 'byte-exact again');

# nginx to the peer.

my $proxy = 'http://' . $web->ip4 . ':8000';
my $hello = "Hello from the web server behind tailscaled.\n";

$infra->wait_get("$proxy/short/");

for (['short name', 'short'], ['full name', 'full'],
     ['IPv4 address', 'ip4'], ['IPv6 address', 'ip6'])
{
    my ($by, $upstream) = @$_;
    my $r = $infra->get("$proxy/$upstream/");

    is($r->{body}, $hello, "proxy to the peer by $by") or diag($r->{error});
}

my ($first, $second) = map {
    $infra->get("$proxy/short/connection")->{body}
} 1 .. 2;

is($second, $first, 'the connection to the peer is kept alive');
like($first, qr/ \Q$web4\E\n| \Q$web6\E\n/, 'it comes from the node');

$r = $infra->get("$proxy/short/big", out => $copy, timeout => 60);

is($r->{size}, $size, 'a 50 MB download by proxy is complete');
is(system('cmp', '-s', $big, $copy), 0, 'and byte-exact');

is($infra->get("$proxy/nobody/")->{status}, 502, '502 for an unknown peer');

my @lines = grep { !/connect\(\) failed/ }
    $nginx->errors(qr/\[(?:warn|error|crit)\].*nobody/);

is(@lines, 1, 'one line of the error log says why') or diag(@lines);

is($infra->get("$proxy/closed/")->{status}, 502, '502 for a closed port');
is($infra->get("$proxy/another/")->{body}, $hello,
   'a backup of the upstream is tried');

# The end.

my @children = $nginx->host->pids;

is($nginx->quit, 0, 'nginx quits');
ok(eval {
    $lab->wait_for(5, 'all of its processes to end', sub {
        !grep { -d "/proc/$_" } @children
    })
}, 'nothing is left behind') or diag(`ps -o pid,args -p @children`);

is(scalar($nginx->errors(qr/\[(?:alert|emerg)\]/)), 0, 'no alerts');
unlike($nginx->error_log, qr/\Q$tailnet->{auth_key}\E/, 'no key in the log');

done_testing();
