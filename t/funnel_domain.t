#!/usr/bin/perl

# Names of the user's own on Funnel: proved to pebble by tls-alpn-01, which
# comes through the relay; renewed while clients are served; by http and by
# stream; and which names a relay may bring.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $pebble = $lab->pebble(host => $lab->host('ca'), nonces => 10, sleep => 1);
my $tailnet = $lab->small_tailnet(testcontrol => 1, control => {
    args => ['-set-txt=' . $pebble->set_txt],
});
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};
my $nginx = $lab->nginx(host => $web, module => 1);
my ($cert, $key) = $lab->ca->issue($nginx->prefix, 'file.example.test');

my $main = "worker_processes 2;\n"
    . $nginx->tailnet_block($control, $tailnet->{auth_key},
        extra => 'acme_directory ' . $pebble->url . ';
    funnel_domains www.Example.test file.example.test lost.example.test;');
my $first = <<"HTTP";
    server {
        listen 443 ssl http2 default_server tailnet=home funnel;
        listen 127.0.0.1:8443 ssl;
        ssl_certificate     $cert;
        ssl_certificate_key $key;
        return 200 file;
    }
HTTP
my $http = $first . <<'HTTP';
    server {
        listen 443 ssl http2 tailnet=home funnel;
        listen 127.0.0.1:8443 ssl;
        server_name www.example.test web.lab.test .lost.example.test;
        ssl_certificate     $tailnet_certificate;
        ssl_certificate_key $tailnet_certificate_key;
        return 200 "$tailnet_funnel $ssl_server_name";
    }
HTTP
my $stream = <<'STREAM';
    server {
        listen 443 ssl tailnet=home funnel;
        listen 127.0.0.1:8443 ssl;
        ssl_certificate     $tailnet_certificate;
        ssl_certificate_key $tailnet_certificate_key;
        return streamed;
    }
STREAM

# First the way in, which validation needs.

$nginx->configure(main => $main, http => $first);
$nginx->start;
$peer->wait_peer('web', 20);
ok($nginx->wait_error_log(15, qr/Funnel to port 443 is on/), 'Funnel is on');

my ($api) = map { s{^http://}{}r } grep { !/\[/ } @{
    $lab->wait_for(15, 'the PeerAPI to be announced', sub {
        my $u = $peer->peer('web')->{PeerAPIURL};
        ref $u && @$u == 2 ? $u : undef;
    })
};

sub relay {
    my ($port, $target) = @_;
    my $p = $peer->host->start("ingress-$port", [$lab->bin('ingress'),
        "-listen=:$port", '-peerapi', $api, "-target=$target"]);
    $p->wait_until(5, 'the port', sub { $peer->host->accepts($port) });
}

my $relay = $peer->host->ip4;

relay($pebble->tls_port, 'www.example.test:443');
relay(4443, 'file.example.test:443');
relay(4444, 'other.example.test:443');
$pebble->set_address("$_.example.test", $relay) for qw(www file);

sub get {
    my ($name, %opt) = @_;
    my $port = delete $opt{port} // $pebble->tls_port;

    return $infra->get("https://$name:$port/", timeout => 5,
        cacert => $pebble->root, resolve => "$name:$port:$relay", %opt);
}

is($infra->wait_get('https://file.example.test:4443/',
                    cacert => $lab->ca->cert,
                    resolve => "file.example.test:4443:$relay")->{body},
   'file', 'a name of one\'s own with a certificate of one\'s own');
ok(!get('other.example.test', port => 4444, args => ['-k'])->{ok},
   'another name is refused');

# What a handshake shows, on the host.

sub shown {
    my ($name, @args) = @_;
    my (undef, $text) = $web->capture('sh', '-c',
        "openssl s_client -servername $name -connect 127.0.0.1:8443 @args "
        . '</dev/null 2>&1');
    return $text;
}

$nginx->configure(main => $main, http => $http);
$nginx->reload;

ok($nginx->wait_error_log(40, qr/certificate of www\.example\.test: issued/),
   'issued') or diag $nginx->errors(qr/certificate|challenge/);
ok($nginx->errors(qr/answering a challenge of ACME for "www\.example\.test"/),
   'by what came through the relay');
ok($nginx->wait_error_log(40, qr/lost\.example\.test:\ the\ validation\ failed:
                                 .*trying\ again\ in\ [67]\d\ s/x),
   'a name that leads nowhere is not') or diag $nginx->errors(qr/lost/);
is(() = $nginx->errors(qr/certificate of www.*trying again/), 0,
   'at the first attempt') or diag $nginx->errors(qr/trying again/);

my $r = $infra->wait_get('https://www.example.test:' . $pebble->tls_port . '/',
    cacert => $pebble->root, args => ['--http2'],
    resolve => 'www.example.test:' . $pebble->tls_port . ":$relay");
is($r->{body}, '1 www.example.test', 'served, chain and name are good')
    or diag $r->{error};

my @names = map { $_->{Name} }
    @{$control->call(GET => '/status')->{SetDNS} // []};
ok(!grep({ /example/ } @names), 'control was not asked for a record');
ok($nginx->wait_error_log(40, qr/certificate of web\.lab\.test: issued/),
   'the node\'s own name has one, too');
like(shown('www.example.test', '-alpn acme-tls/1'),
     qr/no application protocol/i, 'no challenge is answered now');
like(shown('file.example.test'), qr/Lab CA/, 'the file is as it was');

# Renewed by stream; who comes meanwhile sees nothing of it.

$nginx->configure(main => $main, http => '', stream => $stream);
$nginx->reload;
$lab->wait_for(10, 'stream', sub { shown('www.example.test') =~ /streamed/ });

my ($old) = shown('www.example.test')
    =~ /(-----BEGIN CERT.*?-----END CERTIFICATE-----\n)/s;
$pebble->set_window($old, time() - 7200, time() - 3600);
my ($core) = $web->processes('tailnet-core');
kill KILL => $core;

# A worker is killed in the middle of the order: the one in its place knows
# the challenge, too.

ok($nginx->wait_error_log(30, qr/www\.example\.test: ordering the next/),
   'an order is begun');
kill KILL => ($nginx->workers)[0];

my ($odd, $new) = (0, $old);

ok(eval { $lab->wait_for(40, 'another certificate', sub {
    my $text = shown('www.example.test', '-alpn http/1.1');
    $odd++ if $text =~ /BEGIN CERT/ && $text !~ /Pebble Intermediate/;
    ($new) = $text =~ /(-----BEGIN CERT.*?-----END CERTIFICATE-----\n)/s;
    ($new // '') ne $old;
}) }, 'renewed by stream')
    or diag join "\n", $nginx->errors(qr/certificate|challenge/);
is($odd, 0, 'others see one certificate or the other');

is($nginx->quit, 0, 'nginx quits');

my @alerts = grep { !/process \d+ (ended|exited) on signal 9/ }
    $nginx->errors(qr/\[(alert|crit|emerg)\]/);
is(@alerts, 0, 'no alerts') or diag join "\n", @alerts;

done_testing();
