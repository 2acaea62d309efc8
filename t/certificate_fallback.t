#!/usr/bin/perl

# Without certificate domains, as headscale has none: one line, no certificate
# where none is wanted, and a self-signed one where it is; the same one after
# a restart.

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
my ($peer, $web) = @{$tailnet}{qw(peer web)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key}),
    http => <<'HTTP');
    ssl_certificate     $tailnet_certificate;
    ssl_certificate_key $tailnet_certificate_key;
    tailnet_certificate_fallback self_signed;

    server {
        listen 443 ssl tailnet=home;
        return 200 fallback;
    }
    server {
        listen 444 ssl tailnet=home;
        tailnet_certificate_fallback off;
        return 200 none;
    }
HTTP

$nginx->start;

my $node = $peer->wait_peer('web', 20);
(my $name = $node->{DNSName}) =~ s/\.$//;
my ($ip) = grep { !/:/ } @{$node->{TailscaleIPs}};

sub shown {
    my (undef, $text) = $peer->host->capture('sh', '-c',
        "openssl s_client -connect $ip:443 </dev/null 2>/dev/null "
        . "| openssl x509 -noout -subject -ext subjectAltName -fingerprint");
    return $text;
}

ok($nginx->wait_error_log(15, qr/no certificate domains/), 'a line');

my $r = $peer->wait_get("https://$ip/", args => ['-k']);
is($r->{body}, 'fallback', 'served');

my $shown = shown();
like($shown, qr/subject=.*nginx, self-signed/, 'by one of our own');
like($shown, qr/DNS:\Q$name\E\n/, 'of the node\'s name');
ok(!$peer->get("https://$ip/")->{ok}, 'nobody vouches for it');

ok(!$peer->get("https://$ip:444/", args => ['-k'])->{ok},
   'where it is not wanted there is none');
ok($nginx->wait_error_log(5, qr/tailnet "home" has no certificate yet/),
   'with a line');

is(() = $nginx->errors(qr/no certificate domains/), 1, 'told once');

is($nginx->quit, 0, 'nginx quits');
$nginx->start;
is($peer->wait_get("https://$ip/", args => ['-k'])->{body}, 'fallback',
   'after a restart');
is(shown(), $shown, 'the same one');

is($nginx->quit, 0, 'nginx quits again');

done_testing();
