package Tailnet::Lab::CA;

# The lab's own certificate authority.

use strict;
use warnings;

use Carp qw(croak);


sub new {
    my ($class, $dir) = @_;
    my $self = bless { dir => $dir }, $class;

    mkdir $dir or croak "$dir: $!";

    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:P-256', '-nodes', '-days', 2,
            '-subj', '/CN=Lab CA', '-keyout', "$dir/ca.key",
            '-out', $self->cert);

    chmod 0644, $self->cert;

    return $self;
}


# The file with the CA's certificate.

sub cert { return "$_[0]{dir}/ca.crt" }


# Issues a certificate for these names and addresses; returns the files
# (certificate, key) in the directory, named after the first.

sub issue {
    my ($self, $dir, @names) = @_;
    my $base = "$dir/$names[0]";
    my $ext = "$base.ext";

    open(my $f, '>', $ext) or croak "$ext: $!";
    print $f 'subjectAltName=', join(',', map {
        (/^[\d.]+$|:/ ? 'IP:' : 'DNS:') . $_ } @names), "\n",
        "extendedKeyUsage=serverAuth\n";
    close $f;

    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$names[0]",
            '-keyout', "$base.key", '-out', "$base.csr");

    openssl('x509', '-req', '-in', "$base.csr", '-CA', $self->cert,
            '-CAkey', "$self->{dir}/ca.key", '-CAcreateserial',
            '-days', 2, '-extfile', $ext, '-out', "$base.crt");

    unlink $ext, "$base.csr";

    return ("$base.crt", "$base.key");
}


sub openssl {
    my ($status, $output) = Tailnet::Lab::capture('openssl', @_);
    croak "openssl $_[0]: $output" if $status;
}


1;
