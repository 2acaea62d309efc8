#!/usr/bin/perl

# A real tailscaled with its shields up refuses a connection that nginx
# opens: it fails at once, not by its timeout, and the log has the reason.
# With shields_up it is the other way round.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web) = @{$tailnet}{qw(peer web)};
my $nginx = $lab->nginx(host => $web, module => 1);

my $http = <<'HTTP';
    upstream peer { server peer:80 tailnet=home; }
    server { listen 80 tailnet=home; }
    server {
        listen 8000;
        proxy_connect_timeout 20s;
        location / { proxy_pass http://peer; }
    }
HTTP

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key}),
    http => $http);
$nginx->write('html/index.html', "page\n");
$nginx->start;
$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 15)->{body}, "page\n",
   'nginx is on the tailnet') or diag($nginx->error_log);

$peer->cli('set', '--shields-up');

my ($status, $took);
eval { $lab->wait_for(60, 'a refusal', sub {
    my $begin = time;
    $status = $web->run('curl', '-s', '-o', '/dev/null', '-m', '30',
                        '-w', '%{http_code}', 'http://127.0.0.1:8000/');
    $took = time - $begin;
    $nginx->error_log =~ /refuses our connection/ }) };

is($status, 502, 'nothing but a bad gateway');
cmp_ok($took, '<', 10, 'long before the timeout');
like($nginx->error_log,
     qr/refuses our connection to port 80 of it \(TSMP 'S'\), it is reset/,
     'with the reason in the log');
# The other way: our shields are up, and what we open works.

$peer->cli('set', '--shields-up=false');
$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                  extra => 'shields_up on;'),
    http => $http);
$nginx->reload;

my $through = eval { $lab->wait_for(30, 'a page', sub {
    my $r = $tailnet->{infra}->get('http://' . $web->ip4 . ':8000/',
                                   seconds => 5);
    $r && $r->{status} == 200 && $r->{body} }) };
like($through // '', qr/Hello from the web server/,
     'shields up: a page of the peer') or diag($nginx->error_log);
ok(!eval { $peer->get('http://web/', seconds => 3)->{status} == 200 },
   'and none for it');

unlike($nginx->error_log, qr/core .*exited|\[(?:alert|emerg)\]/,
       'nothing bad in the log');

done_testing();
