#!/usr/bin/perl

# Control is away: the core is killed, then the whole nginx restarted, and
# traffic flows with a real tailscaled by the netmap that was kept on disk.

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
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<'HTTP');
    upstream peer { server peer:80 tailnet=home; }
    server { listen 80 tailnet=home; }
    server {
        listen 8000;
        proxy_connect_timeout 5s;
        location / { proxy_pass http://peer; }
    }
HTTP

$nginx->write('html/index.html', "page\n");
$nginx->start;
$peer->wait_peer('web', 20);

my $page = sub {
    my ($seconds) = @_;
    my $r = eval { $peer->wait_get('http://web/', seconds => $seconds) };
    return $r ? $r->{body} : $@;
};

is($page->(20), "page\n", 'a page while control is there');

my ($kept) = map { "$_/home/netmap.zst" } $nginx->prefix . '/state';

$lab->wait_for(20, 'the netmap to be kept', sub { -s $kept });
is((stat $kept)[2] & 0777, 0600, 'the kept netmap is for its owner alone');

$control->stop;

# The core dies.

my ($core) = grep {
    $lab->read_file("/proc/$_/comm") =~ /^tailnet-core/
} $web->pids;

ok($core, 'there is a core') or diag(`ps -ef`);
kill 'KILL', $core;
$nginx->wait_error_log(20, qr/starting with the netmap of/);
is($page->(30), "page\n", 'a page of a new core without control');

# nginx starts anew.

is($nginx->quit, 0, 'nginx quits');
$nginx->start;
is($page->(60), "page\n", 'a page of a new nginx without control')
    or diag($nginx->error_log);

my $proxied = 'http://' . $web->ip4 . ':8000/';
my $r = eval { $tailnet->{infra}->wait_get($proxied, seconds => 30) };
like($r ? $r->{body} : $@, qr/web server behind tailscaled/,
     'and to the peer by name');

# Control comes back.

$control->start;
ok(eval {
    $nginx->wait_error_log(60, qr/map received from.*map received from/s)
}, 'the node is back by itself') or diag($nginx->error_log);
is($page->(20), "page\n", 'and a page');

$nginx->quit;

my @alerts = $nginx->errors(qr/\[(?:alert|emerg)\]/);

is(@alerts, 1, 'one alert, of the core that was killed') or diag(@alerts);

done_testing();
