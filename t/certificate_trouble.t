#!/usr/bin/perl

# Certificates on disk that are no use: expired, of another name, cut short,
# with another key. Each is one line, and another is ordered. And an ACME
# server that has had enough of us.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $ca = $lab->host('ca');
my $pebble = $lab->pebble(host => $ca, nonces => 0, sleep => 0);
my $tailnet = $lab->small_tailnet(testcontrol => 1, control => {
    args => ['-set-txt=' . $pebble->set_txt],
});
my ($web, $control) = @{$tailnet}{qw(web control)};

# In front of pebble, which has no limits of its own.

my $front = $lab->nginx(host => $ca, name => 'front');
my ($cert, $key) = $lab->ca->issue($front->prefix, $ca->ip4);
my $to_pebble = <<"HTTP";
    proxy_ssl_trusted_certificate @{[$lab->ca->cert]};
    server {
        listen 14443 ssl;
        ssl_certificate     $cert;
        ssl_certificate_key $key;
        location / {
            proxy_pass       https://@{[$ca->ip4]}:14000;
            proxy_set_header Host \$http_host;
        }
        %s
    }
HTTP

$front->configure(http => sprintf $to_pebble, '');
$front->start;

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key},
        extra => 'acme_directory https://' . $ca->ip4 . ':14443/dir;'),
    http => <<'HTTP');
    ssl_certificate     $tailnet_certificate;
    ssl_certificate_key $tailnet_certificate_key;
    server { listen 127.0.0.1:8443 ssl; return 200 served; }
HTTP
$nginx->start;

sub shown { return $web->certificate(8443, 'web.lab.test') }

sub issued { return scalar(() = $nginx->errors(qr/web\.lab\.test: issued/)) }

ok($nginx->wait_error_log(40, qr/web\.lab\.test: issued/), 'issued')
    or diag $nginx->errors(qr/certificate/);

my ($file) = glob $nginx->prefix . '/state/home/cert.web.lab.test.*.pem';
my $good = $lab->read_file($file);

# A new nginx with a new core, which reads what is on disk; a killed one would
# wait longer each time.

sub again {
    my ($code) = @_;

    $nginx->quit;
    $lab->wait_for(20, 'the core\'s end', sub { !$web->pids });
    $code->();
    $nginx->start;
}

# As text of a key and a certificate, by the tool openssl.

sub made {
    my ($name, $begin, $end) = @_;
    my $dir = $lab->path('made');

    $lab->run('rm', '-rf', $dir);
    mkdir $dir or die "$dir: $!";
    $lab->write_file("$dir/index", '');
    $lab->write_file("$dir/conf", <<"CONF");
[ca]
default_ca = c
[c]
database = $dir/index
new_certs_dir = $dir
rand_serial = yes
default_md = sha256
policy = p
copy_extensions = copy
x509_extensions = x
[p]
commonName = supplied
[x]
subjectAltName = DNS:$name
CONF
    $lab->run('openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt',
              'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$name",
              '-keyout', "$dir/key", '-out', "$dir/csr");
    $lab->run('openssl', 'ca', '-batch', '-notext', '-selfsign', '-config',
              "$dir/conf", '-keyfile', "$dir/key", '-in', "$dir/csr",
              '-startdate', $begin, '-enddate', $end, '-out', "$dir/crt");

    return $lab->read_file("$dir/key") . $lab->read_file("$dir/crt");
}

my @year = map { (gmtime(time() + $_ * 86400))[5] + 1900 } 0, 366;
my ($from, $to) = ("$year[0]0101000000Z", "$year[1]0101000000Z");
my $other = made('www.lab.test', $from, $to);
my ($other_key) = $other =~ /^(.*?)-----BEGIN CERT/s;

for (['expired', made('web.lab.test', '20200101000000Z', '20200201000000Z'),
      qr/is expired/],
     ['of another name', $other, qr/is of another name/],
     ['cut short', substr($good, 0, length($good) - 40), qr/is damaged/],
     ['with another key', $good =~ s/^.*?(?=-----BEGIN CERT)/$other_key/sr,
      qr/is damaged/])
{
    my ($name, $text, $line) = @$_;
    my ($lines, $n) = (scalar(() = $nginx->errors($line)), issued());

    again(sub { $lab->write_file($file, $text) });

    ok(eval { $lab->wait_for(30, 'another one', sub { issued() > $n }) },
       "$name: another is ordered")
        or diag $nginx->errors(qr/certificate/);
    is(scalar(() = $nginx->errors($line)), $lines + 1, "$name: one line");

    my $new = $lab->read_file($file);
    ok(eval { $lab->wait_for(10, 'the new one', sub {
        my $pem = shown();
        $pem ne '' && index($new, $pem) >= 0;
    }) }, "$name: and shown");
}

# A limit: one line that says for how long, which is kept to.

$front->configure(http => sprintf $to_pebble, <<'HTTP');
location = /order-plz {
            default_type application/problem+json;
            add_header   Retry-After 86400 always;
            return 429 '{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates for lab.test"}';
        }
HTTP
$front->reload;

again(sub { unlink $file });

ok($nginx->wait_error_log(30, qr/429 rateLimited/), 'a limit');
my @lines = $nginx->errors(qr/429 rateLimited/);
is(@lines, 1, 'one line');
like($lines[0], qr/\[error\].*web\.lab\.test:\ order:\ the\ server\ answers
                   \ 429\ rateLimited:\ too\ many\ certificates\ for
                   \ lab\.test;\ trying\ again\ in\ 86400\ s$/x,
     'which says all');
is(issued(), 5, 'nothing was issued');

# A new core does not know of it: it is for who knows better.

$front->configure(http => sprintf $to_pebble, '');
$front->reload;
again(sub { });
ok(eval { $lab->wait_for(60, 'another one', sub { issued() == 6 }) },
   'issued when the limit is gone')
    or diag join "\n", $nginx->errors(qr/certificate/);

is($nginx->quit, 0, 'nginx quits');

my @alerts = $nginx->errors(qr/\[(alert|crit|emerg)\]/);
is(@alerts, 0, 'no alerts') or diag join "\n", @alerts;

done_testing();
