#!/usr/bin/perl

# nginx before headscale and derper, by the configuration of docs/front.md as
# it stands there, and a node of that tailnet itself: a real tailscaled and
# nginx's own node reach both through it, and exchange HTTP by that DERP.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $infra = $lab->host('infra');
my $peer_host = $lab->host('peer');

# Where they are to be asked is the front's port.

my $derper = $lab->derper(host => $infra, port => 8443);
$derper->{port} = 443;

my $control = $lab->headscale(host => $infra, derp => [$derper]);
$control->{url} = 'https://' . $infra->ip4;

my $nginx = $lab->nginx(host => $infra, module => 1);
my $text = $lab->read_file($lab->root . '/docs/front.md')
    =~ /^```nginx\n(.*?)^```/ms ? $1 : die 'no configuration';

my ($cert, $key) = $lab->ca->issue($nginx->prefix, 'headscale.example.com',
                                   $infra->ip4);
my %lab = ('/etc/ssl/headscale.pem' => $cert,
           '/etc/ssl/headscale.key' => $key,
           'derp.example.com'       => $derper->{name});

$text =~ s/\Q$_\E/$lab{$_}/ for keys %lab;

# what old workers have is that of their own configuration

$text =~ s/worker_shutdown_timeout\s+1m;/worker_shutdown_timeout 1s;/
    or die 'no worker_shutdown_timeout';

my %part;

for my $name (qw(http stream)) {
    $part{$name} = $1 if $text =~ s/^$name \{\n(.*?)^\}\n//ms;
}

$part{http} .= <<'HTTP';
    log_format front '$status $request_method $uri $http_upgrade';
    access_log logs/front.log front;
    server { listen 80 tailnet=home; access_log off; return 200 page; }
HTTP

$nginx->configure(
    main => $text . $nginx->tailnet_block($control, $control->auth_key),
    %part);
$nginx->start;

$nginx->wait_error_log(30, qr/this node is web/);
pass('nginx joins through itself');

# UDP is closed to the peer: nothing is left but DERP.

$peer_host->block_udp;

my $peer = $lab->tailscaled(host => $peer_host);

$peer->up(control => $control, auth_key => $control->auth_key);
$peer->wait_peer('web', 20);

is($peer->wait_get('http://web/', seconds => 25)->{body}, 'page',
   'a tailscaled reaches nginx') or diag($nginx->error_log);
ok($peer->wait_path('web', qr/derp/i, 10), 'over DERP');

sub front { return split /\n/, $lab->read_file($nginx->prefix . '/logs/front.log') }

ok((grep { m{^301 POST /ts2021 } } front()),
   'a redirect where the upgrade is tried without TLS');
is(join("\n", grep { /^(?:4(?!99)|5)/ } front()), '', 'no request failed');

# Established connections are logged at their end: a reload is one.

my @old = $nginx->workers;

$nginx->reload;

ok(eval { $lab->wait_for(10, 'the end of the old workers', sub {
    my %now = map { $_ => 1 } $nginx->workers;
    return !grep { $now{$_} } @old;
}) }, 'a reload ends the old workers');
ok((grep { m{^101 POST /ts2021 tailscale-control-protocol} } front()),
   'and what they carried');
is($peer->wait_get('http://web/', seconds => 25)->{body}, 'page',
   'clients come back by the new ones');

done_testing();
